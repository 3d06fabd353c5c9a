// Play, Step and Slow: a slider that moves by itself, as time passes or a step at a time.

class Player {
  constructor(view) {
    this.view = view;
    this.playing = null;
    const button = (text, title, act) => make("button", { type: "button", title, onclick: act }, text);
    this.play = button("Play", "Move the slider (Space)", () => this.toggle());
    this.slow = button("Slow", "Play four times slower", () => this.pace());
    this.slow.setAttribute("aria-pressed", "false");
    this.buttons = [this.play, button("Step", "One step on (the arrow keys go finer)", () => this.step()), this.slow];
  }

  // The slider that plays: the one with the focus, or the first.
  moving() {
    const { scene, controls } = this.view;
    const sliders = scene.params.filter((p) => p.kind === "slider" && this.view.visible(p));
    return sliders.find((p) => controls.get(p.name).input === document.activeElement) || sliders[0];
  }

  place(param, k) {
    const { steps, value } = this.view.controls.get(param.name);
    this.view.change(param.name, k >= steps ? param.high : k <= 0 ? param.low : value(Math.round(k)));
  }

  toggle(param = this.moving()) {
    if (this.playing) return this.stop(), this.view.settle();
    if (!param) return;
    const { steps, input } = this.view.controls.get(param.name);
    const from = +input.value >= steps ? 0 : +input.value;
    const began = performance.now();
    const lasts = this.slow.getAttribute("aria-pressed") === "true" ? 20000 : 5000;
    this.playing = param;
    write(this.play, "Pause");
    const tick = (now) => {
      if (!this.playing) return;
      const k = Math.min(steps, from + (steps * Math.max(0, now - began)) / lasts);
      this.place(param, k);
      if (k >= steps) return this.stop(), this.view.settle();
      this.request = requestAnimationFrame(tick);
    };
    this.request = requestAnimationFrame(tick);
  }

  step() {
    this.stop();
    const param = this.moving();
    if (!param) return;
    const { steps, input } = this.view.controls.get(param.name);
    this.place(param, +input.value >= steps ? 0 : +input.value + Math.ceil(steps / 40));
    this.view.settle();
  }

  pace() {
    this.slow.setAttribute("aria-pressed", String(this.slow.getAttribute("aria-pressed") !== "true"));
    const param = this.playing;
    if (param) this.stop(), this.toggle(param);
  }

  stop() {
    if (!this.playing) return;
    cancelAnimationFrame(this.request);
    this.playing = null;
    write(this.play, "Play");
  }
}
