// One panel: a plane or a chart with its axes, colour bar and legend on a canvas of its own.

const PLOT = { left: 38, right: 10, top: 26, bottom: 20, label: 17, bar: 24, row: 19 };

function niceStep(span, count) {
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 5, 10].find((m) => m * power >= raw * 0.999);
}

const SUPER = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

function decades(low, high) {
  const [first, end] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  const skip = Math.max(1, Math.ceil((end - first + 1) / 6));
  const ticks = [];
  for (let k = first; k <= end; k += skip) {
    const plain = k >= -2 && k <= 3;
    ticks.push([10 ** k, plain ? formatNumber(10 ** k) : `10${[...String(k)].map((c) => SUPER[c]).join("")}`]);
  }
  return ticks;
}

function axisTicks([low, high], scale, count) {
  if (scale === "log" && high / low >= 10) return decades(low, high);
  const step = niceStep(high - low, count);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-6); k * step <= high + step * 1e-6; k++) {
    ticks.push([k * step, formatNumber(k * step, `.${digits}f`)]);
  }
  return ticks;
}

function transform(low, high, from, to, scale) {
  if (scale !== "log") return (v) => from + ((v - low) / (high - low)) * (to - from);
  const [a, b] = [Math.log(low), Math.log(high)];
  return (v) => from + ((Math.log(v) - a) / (b - a)) * (to - from);
}

class Panel {
  constructor(scene, index) {
    Object.assign(this, { scene, index, spec: scene.panels[index] });
    this.layers = scene.layers.filter((layer) => layer.panel === index);
    this.element = document.createElement("div");
    this.element.className = "dt-panel";
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", this.spec.title || scene.title);
    this.element.append(this.canvas);
    this.plane = this.spec.kind === "plane";
    this.bounds = scene.bounds;
  }

  layout(width, theme, yLabels) {
    const legend = this.legendRows(width, theme);
    const bar = this.layers.some((layer) => layer.kind === "heat") ? PLOT.bar : 0;
    this.theme = theme;
    this.left = PLOT.left + (yLabels ? PLOT.label : 0);
    this.top = PLOT.top;
    this.width = this.height = Math.round(width - this.left - PLOT.right);
    const bottom = PLOT.bottom + (this.spec.xlabel ? PLOT.label : 0);
    this.barTop = this.top + this.height + bottom;
    this.legend = legend;
    this.outer = [width, this.barTop + bar + legend.rows * PLOT.row + (legend.rows ? 4 : 0)];
    this.resize();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = this.outer.map((n) => Math.round(n * ratio));
    if (this.canvas.width !== w || this.canvas.height !== h) [this.canvas.width, this.canvas.height] = [w, h];
    this.canvas.style.width = `${this.outer[0]}px`;
    this.canvas.style.height = `${this.outer[1]}px`;
    this.ratio = ratio;
  }

  // Places of the legend's entries: for all layers, so that nothing jumps when one comes or goes.
  legendRows(width, theme) {
    const g = this.canvas.getContext("2d");
    g.font = `11.5px ${theme.font}`;
    const names = [...new Set(this.layers.filter((l) => l.legend).map((l) => l.legend))];
    let [x, row] = [0, 0];
    const widths = new Map();
    for (const name of names) {
      const need = 26 + markedWidth(g, name) + 14;
      if (x > 0 && x + need > width - PLOT.left - PLOT.right) [x, row] = [0, row + 1];
      x += need;
      widths.set(name, need);
    }
    return { widths, rows: names.length ? row + 1 : 0 };
  }

  draw(frame) {
    const g = this.canvas.getContext("2d");
    g.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    g.clearRect(0, 0, ...this.outer);
    const shown = this.layers.filter((layer) => frame.shows(layer)).map((layer) => {
      const data = {};
      for (const [key, tree] of Object.entries(layer.data)) data[key] = frame.of(tree);
      return [layer, data];
    });
    this.scale(shown);
    this.rim = shown.some(([l]) => l.kind === "heat" && l.style.colors !== "density");
    if (!this.plane) this.grid(g);
    g.save();
    g.beginPath();
    g.rect(this.left, this.top, this.width, this.height);
    g.clip();
    for (const [layer, data] of shown) DRAW[layer.kind](g, this, layer, data);
    g.restore();
    this.axes(g);
    const heat = shown.find(([layer]) => layer.kind === "heat");
    if (heat) this.colorBar(g, heat[0], colorRange(...heat));
    this.drawLegend(g, shown.map(([layer]) => layer));
  }

  scale(shown) {
    const [right, bottom] = [this.left + this.width, this.top + this.height];
    const { xlim, ylim, xscale, yscale } = this.spec;
    const [x0, x1, y0, y1] = this.bounds;
    this.xlim = xlim || (this.plane ? [x0, x1] : this.span(shown, "x", xscale, 0));
    this.ylim = ylim || (this.plane ? [y0, y1] : this.span(shown, "y", yscale, 0.06));
    this.X = transform(...this.xlim, this.left, right, xscale);
    this.Y = transform(...this.ylim, bottom, this.top, yscale);
  }

  // Limits of a chart from what it shows.
  span(shown, axis, scale, margin) {
    let [low, high] = [Infinity, -Infinity];
    for (const [, data] of shown) {
      const values = data.xy ? column(data.xy, axis === "x" ? 0 : 1) : data[axis];
      for (const v of values === undefined ? [] : numbers(values)) {
        if (!Number.isFinite(v) || (scale === "log" && v <= 0)) continue;
        [low, high] = [Math.min(low, v), Math.max(high, v)];
      }
    }
    if (low > high) return scale === "log" ? [0.1, 10] : [0, 1];
    if (scale === "log") return low < high ? [low / (high / low) ** margin, high * (high / low) ** margin] : [low / 2, low * 2];
    const room = (high - low) * margin || (high === low ? Math.abs(low) * 0.5 || 1 : 0);
    return [low - room, high + room];
  }

  unscale(px, py) {
    const [x0, x1] = this.xlim;
    const [y0, y1] = this.ylim;
    const u = (px - this.left) / this.width;
    const v = 1 - (py - this.top) / this.height;
    const back = (share, a, b, scale) => (scale === "log" ? a * (b / a) ** share : a + share * (b - a));
    return [back(u, x0, x1, this.spec.xscale), back(v, y0, y1, this.spec.yscale)];
  }

  ticks() {
    const count = this.width > 300 ? 6 : 4;
    return [axisTicks(this.xlim, this.spec.xscale, count), axisTicks(this.ylim, this.spec.yscale, count)];
  }

  grid(g) {
    g.beginPath();
    const [xs, ys] = this.ticks();
    for (const [v] of xs) g.moveTo(this.X(v), this.top), g.lineTo(this.X(v), this.top + this.height);
    for (const [v] of ys) g.moveTo(this.left, this.Y(v)), g.lineTo(this.left + this.width, this.Y(v));
    g.setLineDash([]);
    g.lineWidth = 1;
    g.globalAlpha = 0.55;
    g.strokeStyle = this.theme.colors.faint;
    g.stroke();
    g.globalAlpha = 1;
  }

  axes(g) {
    const { theme, left, top, width, height, spec } = this;
    const bottom = top + height;
    g.setLineDash([]);
    g.lineWidth = 1;
    g.strokeStyle = theme.colors.faint;
    g.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1);
    g.fillStyle = theme.colors.muted;
    g.font = `11px ${theme.font}`;
    const [xs, ys] = this.ticks();
    [g.textAlign, g.textBaseline] = ["center", "top"];
    for (const [v, text] of xs) g.fillText(text, this.X(v), bottom + 5);
    [g.textAlign, g.textBaseline] = ["right", "middle"];
    for (const [v, text] of ys) g.fillText(text, left - 6, this.Y(v) + 0.5);
    [g.textAlign, g.textBaseline] = ["center", "top"];
    if (spec.xlabel) fillMarked(g, spec.xlabel, left + width / 2, bottom + 20);
    if (spec.ylabel) {
      g.save();
      g.translate(3, top + height / 2);
      g.rotate(-Math.PI / 2);
      fillMarked(g, spec.ylabel, 0, 0);
      g.restore();
    }
    g.fillStyle = theme.colors.ink;
    g.font = `600 13px ${theme.font}`;
    [g.textAlign, g.textBaseline] = ["left", "alphabetic"];
    if (spec.title) fillMarked(g, spec.title, left, top - 9);
  }

  colorBar(g, layer, [low, high]) {
    const { theme, left, width } = this;
    const y = this.barTop + 13;
    g.font = `11px ${theme.font}`;
    g.fillStyle = theme.colors.muted;
    g.textBaseline = "middle";
    g.textAlign = "left";
    const label = layer.style.label ? `${layer.style.label}  ` : "";
    const plain = (v) => formatNumber(Math.abs(v) < 1e-3 * (high - low) ? 0 : v, ".3g");
    const [a, b] = [plain(low), plain(high)];
    fillMarked(g, label + a, left, y);
    const from = left + markedWidth(g, label + a) + 6;
    const to = left + width - g.measureText(b).width - 6;
    g.textAlign = "right";
    g.fillText(b, left + width, y);
    const table = theme.table(layer.style.colors);
    const shade = g.createLinearGradient(from, 0, to, 0);
    for (let k = 0; k <= 16; k++) shade.addColorStop(k / 16, cssColor(table[Math.min(255, k * 16)]));
    g.fillStyle = shade;
    g.fillRect(from, y - 4.5, Math.max(0, to - from), 8);
    g.strokeStyle = theme.colors.faint;
    g.lineWidth = 1;
    if (to > from) g.strokeRect(from + 0.5, y - 4, to - from - 1, 7);
  }

  drawLegend(g, layers) {
    let x = this.left;
    let y = this.barTop + (this.layers.some((l) => l.kind === "heat") ? PLOT.bar : 2) + PLOT.row / 2;
    const done = new Set();
    for (const layer of layers) {
      if (!layer.legend || done.has(layer.legend)) continue;
      done.add(layer.legend);
      const need = this.legend.widths.get(layer.legend);
      if (x > this.left && x + need > this.left + this.width + 14) [x, y] = [this.left, y + PLOT.row];
      this.swatch(g, layer, x, y);
      g.font = `11.5px ${this.theme.font}`;
      g.fillStyle = this.theme.colors.ink;
      [g.textAlign, g.textBaseline] = ["left", "middle"];
      fillMarked(g, layer.legend, x + 26, y + 0.5);
      x += need;
    }
  }

  swatch(g, layer, x, y) {
    const { kind, style } = layer;
    const path = new Path2D();
    const color = this.theme.color(style.color || "ink");
    strokeStyle(g, this, style, 1.75);
    g.fillStyle = color;
    if (kind === "heat") {
      const table = this.theme.table(style.colors);
      for (let k = 0; k < 20; k++) (g.fillStyle = cssColor(table[k * 13])), g.fillRect(x + k, y - 4, 1.2, 8);
    } else if (kind === "points" || kind === "marker") {
      const shape = style.shape || (kind === "marker" ? "star" : "dot");
      addShape(path, shape, x + 10, y, kind === "marker" ? (shape === "star" ? 7 : 5) : Math.max(5, Math.min(style.size || 5, 9)) / 2);
      g.setLineDash([]);
      if (shape === "ring" || shape === "cross") g.stroke(path);
      else g.fill(path);
    } else if (kind === "arrows") {
      path.moveTo(x + 1, y), path.lineTo(x + 19, y);
      path.moveTo(x + 14, y - 3.5), path.lineTo(x + 19, y), path.lineTo(x + 14, y + 3.5);
      g.stroke(path);
    } else {
      path.moveTo(x + 1, y), path.lineTo(x + 19, y);
      if (style.fill === "above") (g.fillStyle = veil(color, 0.2)), g.fillRect(x, y, 20, 6);
      g.stroke(path);
    }
  }
}
