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
    this.player = new Player(this);
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
    this.question = scene.prediction ? new Question(this) : null;
    const title = make("div", { class: "dt-title", role: "heading", "aria-level": this.host.level }, scene.title);
    const side = make("div", { class: "dt-side" }, this.words, this.inputs, this.table, this.buttons());
    const body = make("div", { class: "dt-body" }, this.figure, side);
    const note = scene.note ? [make("p", { class: "dt-note" }, ...marked(scene.note))] : [];
    const group = make("div", { role: "group", class: "dt-root", "aria-label": scene.title });
    group.append(title, ...(this.question ? [this.question.element] : []), this.strip, body, ...note, this.spoken);
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
    const bar = make("div", { class: "dt-buttons" });
    // A film: something that the kernel computes on while it is looked at.
    this.train = button("Train", "Train on, or pause", () => this.host.go(this.state === "running" ? "paused" : "running"));
    this.halt = button("Stop", "End with what there is", () => this.host.go("stopped"));
    if (this.host.state) bar.append(this.train, this.halt);
    this.showState(this.host.state);
    if (this.scene.params.some((p) => p.kind === "slider")) bar.append(...this.player.buttons);
    bar.append(
      button("Reset", "Back to the start (R)", () => this.reset()),
      button("PNG", "Save the picture", () => savePicture(this)),
      button("Link", "Copy a link to this view", () => copyLink(this)),
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
    // JupyterLab takes its styles away while it loads a theme: what has no width then is drawn later.
    const themed = new MutationObserver(() => {
      this.restyle();
      setTimeout(() => this.schedule(true), 300);
    });
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
      this.player.toggle();
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
    if (name !== this.player.playing?.name) this.player.stop();
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
    this.player.stop();
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
    this.question?.judge();
  }

  // Panels side by side as wide as fits, wrapped where the page is narrow.
  arrange(shown) {
    const room = this.root.clientWidth - 2 * 16;
    if (room <= 0) return;
    this.resized = false;
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

  dispose() {
    this.player.stop();
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
