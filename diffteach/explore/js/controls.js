// The controls of a scene: native inputs, so that keyboard, touch and screen readers work as usual.

const SUPPRESS = "data-lm-suppress-shortcuts"; // JupyterLab's own keys win on anything without it

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== false && value !== undefined) node.setAttribute(key, value === true ? "" : value);
  }
  if (/^(input|select|button)$/.test(tag) || "tabindex" in attributes) node.setAttribute(SUPPRESS, "true");
  node.append(...children);
  return node;
}

// A slider's track: 200 positions or more, with round values on a linear scale.
function track({ low, high, scale }) {
  if (scale === "log") {
    const value = (k) => Math.min(high, Math.max(low, +(low * (high / low) ** (k / 240)).toPrecision(3)));
    return { steps: 240, value, position: (v) => (240 * Math.log(v / low)) / Math.log(high / low) };
  }
  const raw = (high - low) / 200;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [5, 2, 1].find((m) => m * power <= raw * 1.001);
  const steps = Math.ceil((high - low) / step - 1e-9);
  const value = (k) => Math.min(high, +(low + k * step).toPrecision(12));
  return { steps, value, position: (v) => (v >= high ? steps : (v - low) / step) };
}

function nameOf(param) {
  const name = make("span", { class: "dt-name" }, ...marked(param.label));
  if (param.latex) name.append(" ", make("span", { class: "dt-symbol" }, ...symbolNodes(param.latex)));
  return name;
}

const paperLine = (param) => (param.paper ? [make("small", { class: "dt-paper" }, ...marked(param.paper))] : []);

const CONTROLS = {};

CONTROLS.slider = (param, view) => {
  const { steps, value, position } = track(param);
  const id = view.id(param.name);
  const output = make("output", { class: "dt-value", for: id });
  const input = make("input", { type: "range", id, min: 0, max: steps, step: 1 });
  input.addEventListener("input", () => {
    const at = +input.value;
    view.change(param.name, at <= 0 ? param.low : at >= steps ? param.high : value(at));
  });
  input.addEventListener("change", () => view.settle());
  const show = (v) => {
    if (Math.round(position(v)) !== +input.value) input.value = Math.round(position(v));
    const text = formatNumber(v, Math.abs(v) < 1000 ? ".3g" : ".0f") + (param.unit ? ` ${param.unit}` : "");
    if (output.textContent !== text) output.textContent = text;
    input.setAttribute("aria-valuetext", text);
    input.style.setProperty("--share", input.value / steps);
  };
  const label = make("label", { for: id }, nameOf(param));
  const head = make("div", { class: "dt-head" }, label, output);
  return { element: make("div", { class: "dt-control" }, head, input, ...paperLine(param)), input, show, steps, value };
};

CONTROLS.choice = (param, view) => {
  const id = view.id(param.name);
  if (param.kernel && !view.host.kernel) {
    const text = make("output", { class: "dt-value" });
    const head = make("div", { class: "dt-head" }, nameOf(param), text);
    return { element: make("div", { class: "dt-control" }, head, ...paperLine(param)), show: (v) => writeMarked(text, v) };
  }
  const pick = (v) => (param.kernel ? view.ask(param.name, v) : (view.change(param.name, v), view.settle()));
  if (param.drawn || param.options.length > 4 || param.options.join("").length > 34) {
    const options = new Set([...param.options, ...(param.drawn ? view.host.drawn : [])]);
    const input = make("select", { id, onchange: () => pick(input.value) });
    input.append(...[...options].map((o) => make("option", { value: o }, lowered(o))));
    const label = make("label", { for: id }, nameOf(param));
    const pen = param.drawn ? view.host.pen(param, view) : null;
    const below = [...(pen ? [pen.element] : []), ...paperLine(param)];
    const element = make("div", { class: "dt-control" }, make("div", { class: "dt-head" }, label), input, ...below);
    return { element, input, show: (v) => ((input.value = v), pen?.refresh()) };
  }
  const inputs = param.options.map((o) =>
    make("input", { type: "radio", name: id, value: o, "data-name": o, onchange: () => pick(o) }),
  );
  const buttons = inputs.map((input) => make("label", {}, input, make("span", {}, ...marked(input.value))));
  const element = make(
    "fieldset", { class: "dt-control" }, make("legend", {}, nameOf(param)),
    make("div", { class: "dt-segments" }, ...buttons), ...paperLine(param),
  );
  return { element, input: inputs[0], show: (v) => inputs.forEach((input) => (input.checked = input.value === v)) };
};

CONTROLS.toggle = (param, view) => {
  const input = make("input", { type: "checkbox", id: view.id(param.name) });
  input.addEventListener("change", () => (view.change(param.name, input.checked), view.settle()));
  const label = make("label", { class: "dt-check" }, input, nameOf(param));
  const element = make("div", { class: "dt-control" }, label, ...paperLine(param));
  return { element, input, show: (v) => (input.checked = Boolean(v)) };
};

// A point of the plane as a focusable knob above the canvas.
CONTROLS.handle = (param, view) => {
  const panel = view.panels[param.panel];
  const [x0, x1, y0, y1] = param.bounds;
  const knob = make("div", {
    class: "dt-handle", role: "slider", tabindex: 0, "aria-label": param.label,
    "aria-valuemin": x0, "aria-valuemax": x1,
  });
  const inside = (v, low, high) => +Math.min(high, Math.max(low, v)).toPrecision(6);
  const place = ([x, y]) => view.change(param.name, [inside(x, x0, x1), inside(y, y0, y1)]);
  const move = (event) => {
    const box = panel.canvas.getBoundingClientRect();
    place(panel.unscale(event.clientX - box.left, event.clientY - box.top));
  };
  const locked = () => param.name === "guess" && view.frame.values.revealed;
  const grab = (event) => {
    if (event.button || locked()) return;
    event.preventDefault();
    knob.focus({ preventScroll: true });
    knob.setPointerCapture(event.pointerId);
    view.held = param.name;
    if (event.target !== knob) move(event);
  };
  const drop = () => {
    if (view.held !== param.name) return;
    view.held = null;
    view.settle();
  };
  knob.addEventListener("pointerdown", grab);
  knob.addEventListener("pointermove", (event) => view.held === param.name && move(event));
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) knob.addEventListener(end, drop);
  knob.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[event.key];
    if (!way || locked()) return;
    event.preventDefault();
    const share = event.shiftKey ? 0.1 : 0.01;
    const [x, y] = view.frame.values[param.name];
    place([x + way[0] * share * (x1 - x0), y + way[1] * share * (y1 - y0)]);
    view.settle();
  });
  const show = ([x, y]) => {
    if (!panel.X) return;
    const where = `translate(${panel.X(x)}px, ${panel.Y(y)}px)`;
    const text = `${formatNumber(x, ".2f")}, ${formatNumber(y, ".2f")}`;
    knob.style.transform = where;
    knob.style.setProperty("--knob", panel.theme.color(param.color));
    knob.setAttribute("aria-valuenow", x);
    knob.setAttribute("aria-valuetext", text);
    knob.title = `${param.label} (${text})`;
    knob.setAttribute("aria-disabled", String(Boolean(locked())));
  };
  return { element: knob, input: knob, show, grab };
};
