// One panel: a plane or a chart with what stands around it on a canvas of its own.

const PLOT = { left: 38, right: 10, top: 26, bottom: 20, label: 17, bar: 24, row: 19 };

function transform(low, high, from, to, scale) {
  if (scale !== "log") return (v) => from + ((v - low) / (high - low)) * (to - from);
  const [a, b] = [Math.log(low), Math.log(high)];
  return (v) => from + ((Math.log(v) - a) / (b - a)) * (to - from);
}

const alike = (a, b) => a.length === b.length && a.every((v, k) => Object.is(v, b[k]));

// How many of the first layers show just what they showed.
function standing(before, shown) {
  const same = (k) => alike(Object.values(before[k].data), Object.values(shown[k].data));
  let count = 0;
  while (count < shown.length && same(count)) count++;
  return count;
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

  resize(ratio = window.devicePixelRatio || 1) {
    this.last = null; // a canvas of another size is empty
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

  // Draws what has moved since the last frame, over a picture of what has not.
  draw(frame) {
    const shown = this.layers.filter((layer) => frame.shows(layer)).map((layer) => {
      const data = {};
      for (const [key, tree] of Object.entries(layer.data)) data[key] = frame.of(tree);
      return { layer, data };
    });
    this.scale(shown);
    this.rim = shown.some(({ layer: l }) => l.kind === "heat" && !/^(density|pale)$/.test(l.style.colors));
    const heat = shown.find(({ layer }) => layer.kind === "heat");
    const range = heat ? colorRange(heat.layer, heat.data) : [];
    const around = [this.theme, ...this.xlim, ...this.ylim, ...range, ...shown.map(({ layer }) => layer)];
    const steady = this.last && alike(this.last.around, around);
    const still = steady ? standing(this.last.shown, shown) : 0;
    this.last = { around, shown };
    if (steady && still === shown.length) return;
    const surround = (g) => {
      g.save();
      if (!this.plane) grid(g, this);
      axes(g, this);
      if (heat) colorBar(g, this, heat.layer, range);
      drawLegend(g, this, shown.map(({ layer }) => layer));
      g.restore();
    };
    if (!steady) this.ground = null;
    else if (this.ground?.still !== still) {
      this.ground = { still, canvas: this.ground?.canvas || document.createElement("canvas") };
      const g = this.cleared(this.ground.canvas);
      surround(g);
      this.inside(g, shown.slice(0, still));
    }
    const g = this.cleared(this.canvas, this.ground?.canvas);
    if (!this.ground) surround(g);
    this.inside(g, shown.slice(still));
    border(g, this);
  }

  // A canvas as large as the panel's own, empty or with a picture, to be drawn on in CSS pixels.
  cleared(canvas, picture) {
    const { width, height } = this.canvas;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const g = canvas.getContext("2d");
    g.setTransform(1, 0, 0, 1, 0, 0);
    g.clearRect(0, 0, width, height);
    if (picture) g.drawImage(picture, 0, 0);
    g.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    return g;
  }

  inside(g, shown) {
    g.save();
    g.beginPath();
    g.rect(this.left, this.top, this.width, this.height);
    g.clip();
    for (const { layer, data } of shown) DRAW[layer.kind](g, this, layer, data);
    g.restore();
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
    for (const { data } of shown) {
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
}
