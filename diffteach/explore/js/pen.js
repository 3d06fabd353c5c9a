// Draw a density of one's own: strokes on a sheet above the plane, sent to the kernel when done.

const PEN_STEP = 2; // pixels between points of a stroke

// The buttons of a choice of density, and what keeps their sheet in place.
function penFor(param, view) {
  const button = (text, title, act) => make("button", { type: "button", title, onclick: act }, text);
  let sheet = null;
  const open = () => {
    const panel = view.panels.find((p) => p.plane && !p.element.hidden);
    if (!panel) return;
    view.player.stop();
    sheet = new Sheet(panel, param.drawn, refresh);
    refresh();
    cancel.focus({ preventScroll: true });
    panel.element.scrollIntoView({ block: "nearest" });
  };
  const close = () => {
    sheet?.element.remove();
    sheet = null;
    refresh();
  };
  // The sheet stays until the new picture comes, or the reason why none does.
  const send = () => view.ask("strokes", sheet.strokes.map((stroke) => [...stroke]));
  const start = button("Draw your own", "Draw a density with mouse or finger", open);
  const done = button("Done", "Make this the density", send);
  const undo = button("Undo", "Take the last stroke away", () => {
    sheet.strokes.pop();
    refresh();
    if (undo.disabled) cancel.focus({ preventScroll: true });
  });
  const cancel = button("Cancel", "Back without a drawing (Escape)", () => (close(), start.focus({ preventScroll: true })));
  const hint = make("small", { class: "dt-paper", role: "status" });
  const bar = make("div", { class: "dt-buttons dt-pen" }, start, done, undo, cancel);
  const refresh = () => {
    const allowed = view.visible(param) && !view.hidden.includes("draw");
    if (sheet && !allowed) return close();
    start.hidden = !allowed || Boolean(sheet);
    for (const tool of [done, undo, cancel]) tool.hidden = !sheet;
    for (const tool of [done, undo]) tool.disabled = !sheet?.strokes.length;
    write(hint, sheet ? "Draw lines and dots in the dashed square. From a cell: explorable.draw(points)." : "");
    sheet?.draw();
  };
  bar.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !sheet) return;
    event.stopPropagation();
    cancel.click();
  });
  refresh();
  return { element: make("div", {}, bar, hint), refresh };
}

// A canvas of its own, so that neither the picture nor its handles hear the pen.
class Sheet {
  constructor(panel, reach, changed) {
    Object.assign(this, { panel, reach, changed, strokes: [], stroke: null });
    this.element = make("canvas", { class: "dt-sheet", role: "img", "aria-label": "Sheet to draw on" });
    panel.element.append(this.element);
    const on = (type, act) => this.element.addEventListener(type, act);
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) on(end, () => this.lift());
  }

  down(event) {
    if (event.button || !event.isPrimary) return;
    event.preventDefault();
    this.element.setPointerCapture(event.pointerId);
    this.stroke = [];
    this.strokes.push(this.stroke);
    this.add(event);
    this.changed();
  }

  move(event) {
    if (!this.stroke || !event.isPrimary) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const each of passed.length ? passed : [event]) this.add(each);
    this.draw();
  }

  lift() {
    this.stroke = null;
  }

  // A pen beyond the square moves along its edge.
  add(event) {
    const { left, top } = this.element.getBoundingClientRect();
    const inside = (v) => +Math.min(this.reach, Math.max(-this.reach, v)).toPrecision(5);
    const point = this.panel.unscale(event.clientX - left, event.clientY - top).map(inside);
    const before = this.stroke.at(-1);
    if (!before || Math.hypot(...this.pixels(point).map((v, k) => v - this.pixels(before)[k])) >= PEN_STEP) this.stroke.push(point);
  }

  pixels([x, y]) {
    return [this.panel.X(x), this.panel.Y(y)];
  }

  draw() {
    const { panel, reach, element } = this;
    const { colors } = panel.theme;
    [element.width, element.height] = [panel.canvas.width, panel.canvas.height];
    [element.style.width, element.style.height] = [panel.canvas.style.width, panel.canvas.style.height];
    const g = element.getContext("2d");
    g.setTransform(panel.ratio, 0, 0, panel.ratio, 0, 0);
    g.fillStyle = veil(colors.paper, 0.6);
    g.fillRect(panel.left, panel.top, panel.width, panel.height);
    const [[x0, y1], [x1, y0]] = [this.pixels([-reach, -reach]), this.pixels([reach, reach])];
    g.setLineDash([6, 4]);
    g.strokeStyle = colors.muted;
    g.strokeRect(x0, y0, x1 - x0, y1 - y0);
    g.setLineDash([]);
    [g.lineCap, g.lineJoin] = ["round", "round"];
    for (const [color, width] of [[colors.paper, 8], [colors.vermilion, 5]]) {
      [g.strokeStyle, g.lineWidth] = [color, width];
      for (const stroke of this.strokes) {
        g.beginPath();
        g.moveTo(...this.pixels(stroke[0]));
        for (const point of stroke) g.lineTo(...this.pixels(point));
        g.stroke();
      }
    }
  }
}
