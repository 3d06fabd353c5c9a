// What leaves a view: its permalink and its picture.

const inLink = (text) => encodeURIComponent(text).replaceAll("%2C", ",");
const shortNumber = (v) => String(+Number(v).toPrecision(4));

function linkValue(value) {
  if (Array.isArray(value)) return value.map(shortNumber).join(",");
  return typeof value === "string" ? value : shortNumber(value);
}

// name?parameter=value&...; what stands at its default is left out, and where the guess lies.
function permalink(view) {
  const { scene, frame, host } = view;
  const parts = { ...host.fixed };
  for (const { name, default: usual } of scene.params) {
    const value = frame.values[name];
    if (name !== "guess" && String(value) !== String(usual)) parts[name] = linkValue(value);
  }
  if (scene.prediction) parts.guess = 1;
  if (view.hidden.length) parts.hide = view.hidden.join(",");
  const query = Object.entries(parts).map(([name, v]) => `${name}=${inLink(v)}`).join("&");
  return query ? `${scene.name}?${query}` : scene.name;
}

async function copyLink(view) {
  const { address } = view.host;
  const link = address ? address(permalink(view)) : permalink(view);
  try {
    await navigator.clipboard.writeText(link);
    write(view.copied, address ? "Link copied" : `Copied: ${link}`);
  } catch {
    write(view.copied, link);
  }
}

function parsedValue(param, text) {
  const number = (v, low, high) => {
    const x = Number(v);
    // Links carry four digits, which may round a value just past the end of its range.
    const edge = Math.min(high, Math.max(low, x));
    if (v.trim() === "" || !(Math.abs(x - edge) <= 1e-3 * Math.max(Math.abs(x), Math.abs(edge)))) {
      throw new Error(`${param.name} must lie in [${low}, ${high}], got ${v}`);
    }
    return edge;
  };
  if (param.kind === "slider") return number(text, param.low, param.high);
  if (param.kind === "toggle") return text === "1";
  if (param.kind === "handle") {
    const [x0, x1, y0, y1] = param.bounds;
    const [x, y = ""] = text.split(",");
    return [number(x, x0, x1), number(y, y0, y1)];
  }
  if (!param.options.includes(text)) throw new Error(`${param.name} must be one of ${param.options.join(", ")}`);
  return text;
}

// Takes the view of a permalink; says in the strip what does not fit.
function openLink(view, link) {
  const { scene, host, frame } = view;
  const [name, query = ""] = link.split(/\?(.*)/s);
  if (!name) return;
  try {
    if (name !== scene.name) throw new Error(`This link is for ${name}; this page shows ${scene.name}.`);
    const pairs = new URLSearchParams(query);
    const wanted = frame.defaults();
    for (const [key, text] of pairs) {
      if (key === "hide") continue;
      if (key === "guess" && !host.kernel && !scene.prediction) {
        throw new Error("This page asks for no guess: write one that does with diffteach page and this link.");
      }
      if (key === "guess") continue;
      const param = frame.params[key];
      const live = param && !(param.kernel && !host.kernel);
      if (live) wanted[key] = parsedValue(param, text);
      else if (String((host.fixed || {})[key] ?? frame.values[key]) !== text) {
        throw new Error(`This page cannot show ${key}=${text}; it was made with another one: write that with diffteach page and this link.`);
      }
    }
    const hide = (pairs.get("hide") || "").split(",").filter(Boolean);
    const drawable = scene.params.some((p) => p.drawn);
    const unknown = hide.filter((key) => !Object.hasOwn(frame.params, key) && !(key === "draw" && drawable));
    if (unknown.length) throw new Error(`There is no control ${unknown.join(", ")} to hide.`);
    host.hide = hide;
    for (const key of ["revealed", "guess"]) delete wanted[key];
    for (const [key, value] of Object.entries(wanted)) view.change(key, value);
    view.say("", false);
    view.schedule();
  } catch (error) {
    view.say(error.message, true);
  }
}

function wrapText(g, text, width) {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const longer = lines[lines.length - 1] ? `${lines[lines.length - 1]} ${word}` : word;
    if (g.measureText(longer).width > width && lines[lines.length - 1]) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}

// The picture on one canvas: title, panels with their handles, words; twice as fine as the screen.
function picture(view) {
  const { theme, figure, scene, frame } = view;
  const shown = view.panels.filter((p) => !p.element.hidden);
  const origin = figure.getBoundingClientRect();
  const boxes = shown.map((panel) => panel.element.getBoundingClientRect());
  const across = Math.max(0, ...boxes.map((box) => box.right - origin.left));
  const down = Math.max(0, ...boxes.map((box) => box.bottom - origin.top));
  const [width, margin] = [Math.max(320, across), 20];
  const canvas = document.createElement("canvas");
  const g = canvas.getContext("2d");
  g.font = `14px ${theme.font}`;
  const lines = wrapText(g, frame.words, width);
  const titled = scene.title ? 30 : 0;
  const height = titled + down + 14 + lines.length * 21;
  [canvas.width, canvas.height] = [2 * (width + 2 * margin), 2 * (height + 2 * margin)];
  g.scale(2, 2);
  g.fillStyle = theme.colors.paper;
  g.fillRect(0, 0, canvas.width, canvas.height);
  g.translate(margin, margin);
  g.fillStyle = theme.colors.ink;
  g.textBaseline = "top";
  g.font = `600 17px ${theme.font}`;
  g.fillText(scene.title, 0, 0);
  for (const [k, panel] of shown.entries()) {
    const box = boxes[k];
    const [x, y] = [box.left - origin.left, titled + box.top - origin.top];
    panel.resize(2);
    panel.draw(frame);
    g.drawImage(panel.canvas, x, y, ...panel.outer);
    for (const param of scene.params.filter((p) => p.kind === "handle" && p.panel === panel.index && view.visible(p))) {
      const [u, v] = frame.values[param.name];
      drawKnob(g, theme, x + panel.X(u), y + panel.Y(v), theme.color(param.color));
    }
    panel.resize();
    panel.draw(frame);
  }
  g.fillStyle = theme.colors.ink;
  g.font = `14px ${theme.font}`;
  [g.textAlign, g.textBaseline] = ["left", "top"];
  lines.forEach((line, k) => g.fillText(line, 0, titled + down + 14 + k * 21));
  return canvas;
}

function drawKnob(g, theme, x, y, color) {
  g.beginPath();
  g.arc(x, y, 7, 0, 2 * Math.PI);
  g.lineWidth = 3;
  g.fillStyle = theme.colors.paper;
  g.strokeStyle = color;
  g.fill();
  g.stroke();
}

function savePicture(view) {
  picture(view).toBlob((blob) => {
    const link = make("a", { href: URL.createObjectURL(blob), download: `${view.scene.name}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}
