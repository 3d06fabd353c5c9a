// What stands around the layers of a panel: grid, ticks, labels, colour bar and legend.

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

function ticks(box) {
  const count = box.width > 300 ? 6 : 4;
  return [axisTicks(box.xlim, box.spec.xscale, count), axisTicks(box.ylim, box.spec.yscale, count)];
}

function grid(g, box) {
  g.beginPath();
  const [xs, ys] = ticks(box);
  for (const [v] of xs) g.moveTo(box.X(v), box.top), g.lineTo(box.X(v), box.top + box.height);
  for (const [v] of ys) g.moveTo(box.left, box.Y(v)), g.lineTo(box.left + box.width, box.Y(v));
  g.setLineDash([]);
  g.lineWidth = 1;
  g.globalAlpha = 0.55;
  g.strokeStyle = box.theme.colors.faint;
  g.stroke();
  g.globalAlpha = 1;
}

function border(g, { theme, left, top, width, height }) {
  g.setLineDash([]);
  g.lineWidth = 1;
  g.strokeStyle = theme.colors.faint;
  g.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1);
}

function axes(g, box) {
  const { theme, left, top, width, height, spec } = box;
  const bottom = top + height;
  g.fillStyle = theme.colors.muted;
  g.font = `11px ${theme.font}`;
  const [xs, ys] = ticks(box);
  [g.textAlign, g.textBaseline] = ["center", "top"];
  for (const [v, text] of xs) g.fillText(text, box.X(v), bottom + 5);
  [g.textAlign, g.textBaseline] = ["right", "middle"];
  for (const [v, text] of ys) g.fillText(text, left - 6, box.Y(v) + 0.5);
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

function colorBar(g, box, layer, [low, high]) {
  const { theme, left, width } = box;
  const y = box.barTop + 13;
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

function drawLegend(g, box, layers) {
  let x = box.left;
  let y = box.barTop + (box.layers.some((l) => l.kind === "heat") ? PLOT.bar : 2) + PLOT.row / 2;
  const done = new Set();
  for (const layer of layers) {
    if (!layer.legend || done.has(layer.legend)) continue;
    done.add(layer.legend);
    const need = box.legend.widths.get(layer.legend);
    if (x > box.left && x + need > box.left + box.width + 14) [x, y] = [box.left, y + PLOT.row];
    swatch(g, box, layer, x, y);
    g.font = `11.5px ${box.theme.font}`;
    g.fillStyle = box.theme.colors.ink;
    [g.textAlign, g.textBaseline] = ["left", "middle"];
    fillMarked(g, layer.legend, x + 26, y + 0.5);
    x += need;
  }
}

function swatch(g, box, layer, x, y) {
  const { kind, style } = layer;
  const path = new Path2D();
  const color = box.theme.color(style.color || "ink");
  strokeStyle(g, box, style, 1.75);
  g.fillStyle = color;
  if (kind === "heat") {
    const table = box.theme.table(style.colors);
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
