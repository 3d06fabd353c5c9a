// A scene in a root element: panels, words, controls. `host` is the widget or the page around it.

let views = 0;
const GAP = 22;

class View {
  constructor(root, scene, host) {
    Object.assign(this, { root, scene, host, number: ++views, draws: 0, held: null, pending: 0 });
    this.frame = new Frame(scene, FUNCTIONS);
    for (const [name, value] of Object.entries(host.values || {})) this.frame.set(name, value);
    this.panels = scene.panels.map((_, k) => new Panel(scene, k));
    this.cleanups = [];
    this.build();
    this.restyle();
    this.listen();
  }

  id(name) {
    return `dt${this.number}-${name}`;
  }

  build() {
    const { scene, root } = this;
    root.classList.add("diffteach");
    this.controls = new Map(scene.params.map((p) => [p.name, CONTROLS[p.kind](p, this)]));
    this.strip = make("div", { class: "dt-strip", hidden: true });
    this.figure = make("div", { class: "dt-figure" }, ...this.panels.map((p) => p.element));
    this.words = make("p", { class: "dt-words" });
    this.spoken = make("div", { class: "dt-spoken", "aria-live": "polite" });
    this.inputs = make("div", { class: "dt-controls" });
    for (const param of scene.params) {
      const { element } = this.controls.get(param.name);
      if (param.kind === "handle") this.panels[param.panel].element.append(element);
      else this.inputs.append(element);
    }
    this.cells = scene.readouts.map((r) => make("td", {}));
    const rows = scene.readouts.map((r, k) =>
      make("tr", {}, make("th", { scope: "row" }, ...marked(r.label)), this.cells[k]),
    );
    this.table = make("table", { class: "dt-readouts" }, make("tbody", {}, ...rows));
    this.rows = rows;
    const title = make("div", { class: "dt-title", role: "heading", "aria-level": this.host.level }, scene.title);
    const side = make("div", { class: "dt-side" }, this.words, this.inputs, this.table, this.buttons());
    const body = make("div", { class: "dt-body" }, this.figure, side);
    const note = scene.note ? [make("p", { class: "dt-note" }, ...marked(scene.note))] : [];
    const group = make("div", { role: "group", class: "dt-root", "aria-label": scene.title });
    group.append(title, ...this.question(), this.strip, body, ...note, this.spoken);
    if (!scene.title) title.remove();
    this.figure.hidden = scene.panels.length === 0;
    this.table.hidden = rows.length === 0;
    root.replaceChildren(group);
    root.diffteach = this.hook();
  }

  hook() {
    const view = this;
    return {
      get values() { return { ...view.frame.values }; },
      get words() { return view.frame.words; },
      get draws() { return view.draws; },
      evaluate: (tree) => {
        const v = view.frame.of(tree);
        return typeof v === "number" ? v : { d: Array.from(v.d), s: v.s };
      },
      set: (name, value) => (view.change(name, value), view.settle()),
      write: formatNumber,
      draw: () => view.draw(),
    };
  }

  buttons() {
    const button = (text, title, act) => make("button", { type: "button", title, onclick: act }, text);
    const slides = this.scene.params.some((p) => p.kind === "slider");
    this.play = button("Play", "Move the slider (Space)", () => this.toggle());
    const bar = make("div", { class: "dt-buttons" });
    // A film: something that the kernel computes on while it is looked at.
    this.train = button("Train", "Train on, or pause", () => this.host.go(this.state === "running" ? "paused" : "running"));
    this.halt = button("Stop", "End with what there is", () => this.host.go("stopped"));
    if (this.host.state) bar.append(this.train, this.halt);
    this.showState(this.host.state);
    this.slow = button("Slow", "Play four times slower", () => this.pace());
    this.slow.setAttribute("aria-pressed", "false");
    if (slides) bar.append(this.play, button("Step", "One step on (the arrow keys go finer)", () => this.step()), this.slow);
    bar.append(
      button("Reset", "Back to the start (R)", () => this.reset()),
      button("PNG", "Save the picture", () => savePicture(this)),
      button("Link", "Copy a link to this view", () => this.copyLink()),
    );
    this.copied = make("span", { class: "dt-copied", role: "status" });
    bar.append(this.copied);
    return bar;
  }

  showState(state) {
    this.state = state;
    write(this.train, { running: "Pause training", paused: "Train on" }[state] || "Train");
    this.halt.disabled = state === "stopped";
  }

  // A scene that differs in its arrays and defaults only: controls, focus and drags stay.
  swap(scene) {
    const { values } = this.frame;
    this.scene = scene;
    this.frame = new Frame(scene, FUNCTIONS);
    for (const [name, value] of Object.entries(values)) this.frame.set(name, value);
    this.schedule();
  }

  question() {
    const { prediction } = this.scene;
    if (!prediction) return [];
    this.verdict = make("span", { class: "dt-verdict", "aria-live": "polite" });
    this.reveal = make("button", { type: "button", class: "dt-reveal" }, "Reveal");
    this.reveal.addEventListener("click", () => {
      this.change("revealed", this.frame.values.revealed ? 0 : 1);
      this.judge();
      this.settle();
    });
    const text = make("span", {}, ...marked(prediction.question));
    return [make("div", { class: "dt-question" }, text, this.reveal, this.verdict)];
  }

  listen() {
    const { root } = this;
    const on = (target, type, act) => {
      target.addEventListener(type, act);
      this.cleanups.push(() => target.removeEventListener(type, act));
    };
    on(root, "keydown", (event) => this.key(event));
    on(matchMedia("(prefers-color-scheme: dark)"), "change", () => this.restyle());
    const sized = new ResizeObserver(() => this.schedule(true));
    sized.observe(root);
    const themed = new MutationObserver(() => this.restyle());
    themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
    this.cleanups.push(() => sized.disconnect(), () => themed.disconnect());
    this.cleanups.push(onResolution(() => this.schedule(true)));
    for (const panel of this.panels) {
      on(panel.canvas, "pointerdown", (event) => {
        const here = this.scene.params.filter((p) => p.kind === "handle" && p.panel === panel.index && this.visible(p));
        if (here.length === 1) this.controls.get(here[0].name).grab(event);
      });
    }
  }

  restyle() {
    const dark = isDark();
    const font = getComputedStyle(this.root).fontFamily;
    this.theme = new Theme(dark, font);
    this.root.classList.toggle("dt-dark", dark);
    for (const [name, color] of Object.entries(this.theme.colors)) this.root.style.setProperty(`--dt-${name}`, color);
    this.schedule(true);
  }

  key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const tag = event.target.tagName;
    if (event.key === " " && tag !== "BUTTON" && tag !== "SELECT" && !/radio|checkbox/.test(event.target.type)) {
      event.preventDefault();
      this.toggle();
    } else if (/^r$/i.test(event.key) && tag !== "SELECT") {
      this.reset();
    }
  }

  visible(param) {
    return !this.hidden.includes(param.name) && this.frame.shows(param);
  }

  get hidden() {
    return this.host.hide || [];
  }

  // A value chosen by the user: drawn with the next frame, told to the host.
  change(name, value) {
    if (!this.playing || name !== this.playing.name) this.stop();
    if (!this.accept(name, value)) return;
    this.host.changed?.(name, value);
    this.schedule();
  }

  // Sets a value; a verdict holds as long as its guess.
  accept(name, value) {
    if (!this.frame.set(name, value)) return false;
    if (name === "revealed" || name === "guess") this.host.score = null;
    return true;
  }

  // A value that came from elsewhere.
  follow(name, value) {
    if (this.held !== name && this.accept(name, value)) this.schedule();
  }

  settle() {
    this.host.settled?.();
  }

  ask(name, value) {
    this.wish = { name, value };
    this.say("Computing …", false);
    this.host.ask(name, value);
  }

  reset() {
    this.stop();
    const start = this.frame.defaults();
    for (const [name, value] of Object.entries(this.host.opening || {})) if (name in start) start[name] = value;
    start.revealed = this.scene.prediction ? 0 : 1;
    // What the kernel has computed stays, as in Python.
    const live = ([name]) => !this.frame.params[name]?.kernel;
    for (const [name, value] of Object.entries(start).filter(live)) this.change(name, value);
    this.settle();
  }

  schedule(resized = false) {
    this.resized ||= resized;
    this.pending ||= requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.pending);
    this.pending = 0;
    this.draws++;
    try {
      const shown = this.panels.filter((p) => this.frame.shows(p.spec));
      const names = shown.map((p) => p.index).join();
      if (this.resized || names !== this.arranged) this.arrange(shown);
      this.arranged = names;
      for (const panel of shown) panel.draw(this.frame);
      this.showValues();
    } catch (error) {
      this.say(String(error.message || error), true);
    }
  }

  showValues() {
    const { frame } = this;
    for (const param of this.scene.params) {
      const control = this.controls.get(param.name);
      control.element.hidden = !this.visible(param);
      control.show(this.wish?.name === param.name ? this.wish.value : frame.values[param.name]);
    }
    this.scene.readouts.forEach((readout, k) => {
      this.rows[k].hidden = !frame.shows(readout);
      if (!this.rows[k].hidden) write(this.cells[k], formatNumber(scalar(frame.of(readout.formula)), readout.form));
    });
    writeMarked(this.words, frame.words);
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => write(this.spoken, frame.words), 700);
    if (this.verdict) this.judge();
  }

  judge() {
    const { frame, scene } = this;
    const open = Boolean(frame.values.revealed);
    write(this.reveal, open ? "Guess again" : "Reveal");
    if (!open) return write(this.verdict, "");
    const { right, wrong, tolerance } = scene.prediction;
    // Scored once, at Reveal: what is moved afterwards changes the answer, not the guess.
    const gap = (this.host.score ??= frame.score);
    write(this.verdict, `${gap <= tolerance ? right : wrong} Your guess is ${formatNumber(gap, ".2f")} away.`);
  }

  // Panels side by side as wide as fits, wrapped where the page is narrow.
  arrange(shown) {
    this.resized = false;
    const room = this.root.clientWidth - 2 * 16;
    if (room <= 0) return;
    const n = Math.max(1, shown.length);
    const beside = n === 1 && room >= 720;
    this.root.classList.toggle("dt-beside", beside);
    const fitting = Math.max(1, Math.min(n, Math.floor((room + GAP) / (250 + GAP))));
    const columns = Math.ceil(n / Math.ceil(n / fitting)); // rows alike: four are 2 + 2, not 3 + 1
    const widest = n === 1 ? (room >= 1140 ? 560 : 460) : n === 2 ? 410 : 380;
    const width = Math.floor(Math.min(widest, beside ? room * 0.55 : (room - GAP * (columns - 1)) / columns));
    const yLabels = shown.some((p) => p.spec.ylabel);
    for (const panel of this.panels) panel.element.hidden = !shown.includes(panel);
    for (const panel of shown) panel.layout(width, this.theme, yLabels);
  }

  // What was asked for has come, or has failed.
  answered(error) {
    this.wish = null;
    this.say(error, true);
    this.schedule();
  }

  say(text, isError) {
    this.strip.hidden = !text;
    this.strip.className = `dt-strip ${isError ? "dt-error" : "dt-busy"}`;
    this.strip.setAttribute("role", isError ? "alert" : "status");
    const close = make("button", { type: "button", "aria-label": "Dismiss", onclick: () => this.dismiss() }, "×");
    this.strip.replaceChildren(make("span", {}, text), ...(isError ? [close] : []));
  }

  dismiss() {
    this.say("", false);
    this.host.dismissed?.();
  }

  // The slider that plays: the one with the focus, or the first.
  moving() {
    const sliders = this.scene.params.filter((p) => p.kind === "slider" && this.visible(p));
    return sliders.find((p) => this.controls.get(p.name).input === document.activeElement) || sliders[0];
  }

  place(param, k) {
    const { steps, value } = this.controls.get(param.name);
    this.change(param.name, k >= steps ? param.high : k <= 0 ? param.low : value(Math.round(k)));
  }

  toggle(param = this.moving()) {
    if (this.playing) return this.stop(), this.settle();
    if (!param) return;
    const { steps, input } = this.controls.get(param.name);
    const from = +input.value >= steps ? 0 : +input.value;
    const began = performance.now();
    const lasts = this.slow.getAttribute("aria-pressed") === "true" ? 20000 : 5000;
    this.playing = { name: param.name, param };
    write(this.play, "Pause");
    const tick = (now) => {
      if (!this.playing) return;
      const k = Math.min(steps, from + (steps * Math.max(0, now - began)) / lasts);
      this.place(param, k);
      if (k >= steps) return this.stop(), this.settle();
      this.playing.request = requestAnimationFrame(tick);
    };
    this.playing.request = requestAnimationFrame(tick);
  }

  step() {
    this.stop();
    const param = this.moving();
    if (!param) return;
    const { steps, input } = this.controls.get(param.name);
    this.place(param, +input.value >= steps ? 0 : +input.value + Math.ceil(steps / 40));
    this.settle();
  }

  pace() {
    this.slow.setAttribute("aria-pressed", String(this.slow.getAttribute("aria-pressed") !== "true"));
    const { param } = this.playing || {};
    if (param) this.stop(), this.toggle(param);
  }

  stop() {
    if (!this.playing) return;
    cancelAnimationFrame(this.playing.request);
    this.playing = null;
    write(this.play, "Play");
  }

  async copyLink() {
    const link = this.host.address ? this.host.address(permalink(this)) : permalink(this);
    try {
      await navigator.clipboard.writeText(link);
      write(this.copied, this.host.address ? "Link copied" : `Copied: ${link}`);
    } catch {
      write(this.copied, link);
    }
  }

  dispose() {
    this.stop();
    cancelAnimationFrame(this.pending);
    clearTimeout(this.speaking);
    for (const cleanup of this.cleanups) cleanup();
    this.root.replaceChildren();
  }
}

// Calls back whenever the screen's pixels become finer or coarser; returns what ends it.
function onResolution(act) {
  const ending = new AbortController();
  const wait = () => {
    const query = matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
    const again = () => (act(), wait());
    query.addEventListener("change", again, { once: true, signal: ending.signal });
  };
  wait();
  return () => ending.abort();
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
