// The layers on a 2D canvas. `box` is a panel's plot: X(x), Y(y), left, top, side widths, theme.

const DRAW = {};

function strokeStyle(g, box, style, width = 1.75) {
  g.strokeStyle = box.theme.color(style.color || "ink");
  g.lineWidth = style.width ?? width;
  g.setLineDash(style.dash === true ? [5, 4] : Array.isArray(style.dash) ? style.dash : style.dash ? [5, 4] : []);
  g.lineJoin = g.lineCap = "round";
}

// Over a dark heat map a line keeps a rim of paper, so that any colour stays readable.
function strokeWithRim(g, box, path) {
  if (box.rim) {
    const [color, width] = [g.strokeStyle, g.lineWidth];
    g.strokeStyle = veil(box.theme.colors.paper, 0.6);
    g.lineWidth = width + 2;
    g.stroke(path);
    g.strokeStyle = color;
    g.lineWidth = width;
  }
  g.stroke(path);
}

const RANGES = new WeakMap(); // of arrays that were asked for before

function finiteRange(field) {
  if (typeof field === "number") return rangeOf(field);
  if (!RANGES.has(field)) RANGES.set(field, rangeOf(field));
  return RANGES.get(field);
}

function rangeOf(field) {
  let [low, high] = [Infinity, -Infinity];
  for (const v of numbers(field)) {
    if (v < low && v > -Infinity) low = v;
    if (v > high && v < Infinity) high = v;
  }
  return low <= high ? [low, high] : [0, 1];
}

// What the ends of a colour table stand for; a diverging one is symmetric about zero.
function colorRange(layer, data) {
  const [lowest, highest] = data.low === undefined || data.high === undefined ? finiteRange(data.field) : [];
  const low = data.low === undefined ? lowest : scalar(data.low);
  const high = data.high === undefined ? highest : scalar(data.high);
  if (layer.style.colors !== "diverging") return [low, high > low ? high : low + 1];
  const reach = Math.max(Math.abs(low), Math.abs(high)) || 1;
  return [-reach, reach];
}

// One pixel per node of the field, rows turned so that y points up; NaN stays clear.
function fieldImage(layer, field, [low, high], theme) {
  const key = [low, high, theme.dark].join();
  const kept = layer.image;
  if (kept && kept.field === field && kept.key === key) return kept;
  const [rows, cols] = field.s;
  const canvas = kept ? kept.canvas : document.createElement("canvas");
  const g = canvas.getContext("2d");
  const fits = kept && canvas.width === cols && canvas.height === rows;
  if (!fits) [canvas.width, canvas.height] = [cols, rows];
  const image = fits ? kept.image : g.createImageData(cols, rows);
  const pixels = new Uint32Array(image.data.buffer);
  const table = theme.table(layer.style.colors);
  const scale = 256 / (high - low);
  let holes = false;
  for (let i = 0; i < rows; i++) {
    const to = (rows - 1 - i) * cols;
    for (let j = 0; j < cols; j++) {
      const v = field.d[i * cols + j];
      const k = (v - low) * scale;
      pixels[to + j] = v === v ? table[k < 0 ? 0 : k > 255 ? 255 : k | 0] : 0;
      holes ||= v !== v;
    }
  }
  g.putImageData(image, 0, 0);
  layer.image = { field, key, canvas, image, holes };
  return layer.image;
}

function hatch(g, box) {
  const path = new Path2D();
  for (let s = -box.height; s < box.width; s += 7) {
    path.moveTo(box.left + s, box.top + box.height);
    path.lineTo(box.left + s + box.height, box.top);
  }
  g.setLineDash([]);
  g.lineWidth = 1;
  g.strokeStyle = box.theme.colors.faint;
  g.stroke(path);
}

DRAW.heat = (g, box, layer, data) => {
  const range = colorRange(layer, data);
  const image = fieldImage(layer, data.field, range, box.theme);
  const [rows, cols] = data.field.s;
  const [x0, x1, y0, y1] = box.bounds;
  const [dx, dy] = [(x1 - x0) / (cols - 1) / 2, (y1 - y0) / (rows - 1) / 2];
  const [left, top] = [box.X(x0 - dx), box.Y(y1 + dy)];
  if (image.holes) hatch(g, box);
  g.imageSmoothingEnabled = true;
  g.drawImage(image.canvas, left, top, box.X(x1 + dx) - left, box.Y(y0 - dy) - top);
};

// Level lines of a field, found again only when it or the level is another one.
function keptLines(layer, field, level) {
  const kept = layer.lines;
  if (!kept || kept.field !== field || kept.level !== level) {
    layer.lines = { field, level, lines: levelLines(field, level) };
  }
  return layer.lines.lines;
}

DRAW.contour = (g, box, layer, data) => {
  const [rows, cols] = data.field.s;
  const [x0, x1, y0, y1] = box.bounds;
  const X = (j) => box.X(x0 + (j * (x1 - x0)) / (cols - 1));
  const Y = (i) => box.Y(y0 + (i * (y1 - y0)) / (rows - 1));
  const level = scalar(data.level);
  if (layer.style.fill === "above") {
    const inside = new Path2D();
    addAbove(inside, data.field, level, X, Y);
    g.fillStyle = veil(box.theme.color(layer.style.color || "ink"), 0.16);
    g.fill(inside);
  }
  const path = new Path2D();
  for (const line of keptLines(layer, data.field, level)) {
    path.moveTo(X(line[0]), Y(line[1]));
    for (let k = 2; k < line.length; k += 2) path.lineTo(X(line[k]), Y(line[k + 1]));
  }
  strokeStyle(g, box, layer.style);
  strokeWithRim(g, box, path);
};

function addShape(path, shape, x, y, r) {
  if (shape === "square") path.rect(x - r, y - r, 2 * r, 2 * r);
  else if (shape === "cross") {
    path.moveTo(x - r, y - r), path.lineTo(x + r, y + r);
    path.moveTo(x - r, y + r), path.lineTo(x + r, y - r);
  } else if (shape === "star") {
    for (let k = 0; k < 10; k++) {
      const [angle, reach] = [(k * Math.PI) / 5 - Math.PI / 2, k % 2 ? r * 0.45 : r];
      path[k ? "lineTo" : "moveTo"](x + reach * Math.cos(angle), y + reach * Math.sin(angle));
    }
    path.closePath();
  } else {
    path.moveTo(x + r, y);
    path.arc(x, y, r, 0, 2 * Math.PI);
  }
}

DRAW.points = (g, box, layer, data) => {
  const { shape = "dot", size = 5, color = "ink" } = layer.style;
  const [low, high] = data.value ? finiteRange(data.value) : [0, 1];
  const paths = new Map();
  const n = data.xy.d.length / 2;
  for (let i = 0; i < n; i++) {
    const x = box.X(data.xy.d[2 * i]);
    const y = box.Y(data.xy.d[2 * i + 1]);
    if (!Number.isFinite(x + y)) continue;
    const share = data.value ? (numbers(data.value)[i] - low) / (high - low || 1) : 0;
    const bin = share === share ? Math.round(share * 63) : -1;
    if (!paths.has(bin)) paths.set(bin, new Path2D());
    addShape(paths.get(bin), shape, x, y, size / 2);
  }
  const table = box.theme.table(layer.style.colors || "sequential");
  g.setLineDash([]);
  for (const [bin, path] of paths) {
    const ink = data.value && bin >= 0 ? cssColor(table[bin * 4 + 1]) : box.theme.color(color);
    g.lineWidth = shape === "ring" ? 1.75 : 1;
    g.strokeStyle = shape === "ring" ? ink : veil(box.theme.colors.paper, 0.8);
    if (shape === "ring") strokeWithRim(g, box, path);
    else if (size >= 4) g.stroke(path);
    g.fillStyle = ink;
    if (shape !== "ring") g.fill(path);
  }
};

DRAW.arrows = (g, box, layer, data) => {
  const [xy, uv] = [data.xy.d, data.uv.d];
  const [sx, sy] = [box.X(1) - box.X(0), box.Y(1) - box.Y(0)];
  let longest = 0;
  for (let k = 0; k < uv.length; k += 2) longest = Math.max(longest, Math.hypot(uv[k], uv[k + 1]) || 0);
  const { length } = layer.style;
  const scale = length === undefined ? 1 : (length * box.width) / sx / (longest || 1);
  const path = new Path2D();
  for (let k = 0; k < xy.length; k += 2) {
    const x = box.X(xy[k]);
    const y = box.Y(xy[k + 1]);
    const u = uv[k] * scale * sx;
    const v = uv[k + 1] * scale * sy;
    const reach = Math.hypot(u, v);
    if (!(reach > 0.75) || !Number.isFinite(x + y + reach)) continue;
    const head = Math.min(5.5, 0.4 * reach) / reach;
    path.moveTo(x, y);
    path.lineTo(x + u, y + v);
    path.moveTo(x + u - head * (u + 0.55 * v), y + v - head * (v - 0.55 * u));
    path.lineTo(x + u, y + v);
    path.lineTo(x + u - head * (u - 0.55 * v), y + v - head * (v + 0.55 * u));
  }
  strokeStyle(g, box, layer.style, 1.25);
  strokeWithRim(g, box, path);
};

function addLine(path, box, xs, ys, from, to, stride, closed) {
  let pen = false;
  for (let k = from; k < to; k++) {
    const x = box.X(xs[k * stride]);
    const y = box.Y(ys(k));
    const known = Number.isFinite(x + y);
    if (known) path[pen ? "lineTo" : "moveTo"](x, y);
    pen = known;
  }
  if (closed && pen) path.closePath();
}

DRAW.path = (g, box, layer, data) => {
  const { d, s } = data.xy;
  const steps = s[s.length - 2];
  const path = new Path2D();
  for (let p = 0; p < d.length / 2; p += steps) {
    addLine(path, box, d, (k) => d[2 * k + 1], p, p + steps, 2, layer.style.closed);
  }
  strokeStyle(g, box, layer.style);
  strokeWithRim(g, box, path);
};

DRAW.line = (g, box, layer, data) => {
  const path = new Path2D();
  const y = numbers(data.y);
  addLine(path, box, numbers(data.x), (k) => y[k], 0, y.length, 1, false);
  strokeStyle(g, box, layer.style, 2);
  g.stroke(path);
};

const labelFont = (box) => `11.5px ${box.theme.font}`;

function writeBeside(g, box, text, x, y, color, align) {
  g.font = labelFont(box);
  g.textAlign = align;
  g.textBaseline = "middle";
  g.setLineDash([]);
  g.lineJoin = "round";
  g.lineWidth = 3;
  g.strokeStyle = veil(box.theme.colors.paper, 0.85);
  fillMarked(g, text, x, y, "strokeText");
  g.fillStyle = color;
  fillMarked(g, text, x, y);
}

DRAW.marker = (g, box, layer, data) => {
  const [x, y] = [box.X(data.xy.d[0]), box.Y(data.xy.d[1])];
  if (!Number.isFinite(x + y)) return;
  const { shape = "star", label } = layer.style;
  const size = layer.style.size ?? (shape === "star" ? 8.5 : 6);
  const color = box.theme.color(layer.style.color || "ink");
  const path = new Path2D();
  addShape(path, shape, x, y, size);
  g.setLineDash([]);
  g.lineJoin = g.lineCap = "round";
  for (const [ink, width] of [[box.theme.colors.paper, shape === "star" ? 3.5 : 5], [color, shape === "star" ? 0 : 2.25]]) {
    if (width === 0) continue;
    g.strokeStyle = ink;
    g.lineWidth = width;
    g.stroke(path);
  }
  g.fillStyle = color;
  if (shape === "star") g.fill(path);
  if (!label) return;
  g.font = labelFont(box);
  const [before, after] = [x - box.left, box.left + box.width - x];
  const right = after < Math.min(before, markedWidth(g, label) + 16);
  writeBeside(g, box, label, x + (right ? -12 : 12), y, color, right ? "right" : "left");
};

DRAW.rule = (g, box, layer, data) => {
  const path = new Path2D();
  const upright = data.x !== undefined;
  const place = upright ? box.X(scalar(data.x)) : box.Y(scalar(data.y));
  if (!Number.isFinite(place)) return;
  const [right, bottom] = [box.left + box.width, box.top + box.height];
  path.moveTo(upright ? place : box.left, upright ? box.top : place);
  path.lineTo(upright ? place : right, upright ? bottom : place);
  strokeStyle(g, box, layer.style, 1.25);
  g.stroke(path);
  if (!layer.style.label) return;
  const color = box.theme.color(layer.style.color || "ink");
  const late = upright && place > box.left + box.width * 0.7;
  const [x, y] = upright ? [place + (late ? -5 : 5), box.top + 9] : [right - 4, place - 8];
  writeBeside(g, box, layer.style.label, x, y, color, late || !upright ? "right" : "left");
};
