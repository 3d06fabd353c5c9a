// Numbers and arrays {d: numbers in row-major order, s: shape}, with the semantics of expression.py.

const scalar = (v) => (typeof v === "number" ? v : v.d[0]);
const numbers = (v) => (typeof v === "number" ? [v] : v.d);
const shaped = (d, s) => (s.length ? { d, s } : d[0]);
const last = (v) => v.s[v.s.length - 1];

const count = (s) => s.reduce((p, q) => p * q, 1);
const shapeOf = (v) => (typeof v === "number" ? [] : v.s);

// Shapes agree, or the last axis of one matches the other's; what holds one number fits anything.
function commonShape(s, t) {
  if (count(s) === 1 && count(t) > 1) return t;
  if (count(t) === 1 && count(s) > 1) return s;
  const [long, short] = s.length >= t.length ? [s, t] : [t, s];
  if (short.some((n, k) => n !== long[long.length - short.length + k])) {
    throw new Error(`shapes ${s.join("x")} and ${t.join("x")} do not fit`);
  }
  return long;
}

// Data of length n, or of length 1, which is read with stride 0.
function stretched(v, n) {
  const d = numbers(v);
  if (d.length === n || d.length === 1) return d;
  const out = new Float64Array(n);
  for (let i = 0; i < n; i += d.length) out.set(d, i);
  return out;
}

// The four loops are spelt out because a call per element would cost more than the arithmetic.
function arithmetic(op, a, b) {
  if (typeof a === "number" && typeof b === "number") {
    return op === "+" ? a + b : op === "-" ? a - b : op === "*" ? a * b : a / b;
  }
  const s = commonShape(shapeOf(a), shapeOf(b));
  const n = count(s);
  const [x, y] = [stretched(a, n), stretched(b, n)];
  const [p, q] = [x.length === n ? 1 : 0, y.length === n ? 1 : 0];
  const out = new Float64Array(n);
  if (op === "+") for (let i = 0; i < n; i++) out[i] = x[i * p] + y[i * q];
  else if (op === "-") for (let i = 0; i < n; i++) out[i] = x[i * p] - y[i * q];
  else if (op === "*") for (let i = 0; i < n; i++) out[i] = x[i * p] * y[i * q];
  else for (let i = 0; i < n; i++) out[i] = x[i * p] / y[i * q];
  return { d: out, s };
}

function pairwise(f, a, b) {
  if (typeof a === "number" && typeof b === "number") return f(a, b);
  const s = commonShape(shapeOf(a), shapeOf(b));
  const n = count(s);
  const [x, y] = [stretched(a, n), stretched(b, n)];
  const [p, q] = [x.length === n ? 1 : 0, y.length === n ? 1 : 0];
  const out = new Float64Array(n);
  for (let i = 0; i < n; i++) out[i] = f(x[i * p], y[i * q]);
  return { d: out, s };
}

function each(f, a) {
  if (typeof a === "number") return f(a);
  const out = new Float64Array(a.d.length);
  for (let i = 0; i < out.length; i++) out[i] = f(a.d[i]);
  return { d: out, s: a.s };
}

function where(c, a, b) {
  if (typeof c === "number" && typeof a === "number" && typeof b === "number") return c !== 0 ? a : b;
  const s = [a, b].map(shapeOf).reduce(commonShape, shapeOf(c));
  const n = count(s);
  const [test, yes, no] = [c, a, b].map((v) => stretched(v, n));
  const [k, p, q] = [test, yes, no].map((d) => (d.length === n ? 1 : 0));
  const out = new Float64Array(n);
  for (let i = 0; i < n; i++) out[i] = test[i * k] !== 0 ? yes[i * p] : no[i * q];
  return { d: out, s };
}

function extreme(v, sign) {
  const d = numbers(v);
  let best = NaN;
  for (let i = 0; i < d.length; i++) if (!(sign * d[i] >= sign * best) && d[i] === d[i]) best = d[i];
  return best;
}

function total(v) {
  let sum = 0;
  for (const x of numbers(v)) if (x === x) sum += x;
  return sum;
}

function mean(v) {
  let sum = 0;
  let count = 0;
  for (const x of numbers(v)) if (x === x) (sum += x), count++;
  return sum / count;
}

function median(v) {
  const known = Float64Array.from(numbers(v)).filter((x) => x === x).sort();
  const half = known.length >> 1;
  return known.length % 2 ? known[half] : known.length ? (known[half - 1] + known[half]) / 2 : NaN;
}

function norm(v) {
  const width = last(v);
  const out = new Float64Array(v.d.length / width);
  for (let i = 0; i < out.length; i++) {
    let sum = 0;
    for (let k = 0; k < width; k++) sum += v.d[i * width + k] ** 2;
    out[i] = Math.sqrt(sum);
  }
  return shaped(out, v.s.slice(0, -1));
}

function column(v, index) {
  const width = last(v);
  const j = index < 0 ? width + Math.trunc(index) : Math.trunc(index);
  if (j >= width) throw new Error(`there is no column ${index} in ${width}`);
  const out = new Float64Array(v.d.length / width);
  for (let i = 0; i < out.length; i++) out[i] = v.d[i * width + j];
  return shaped(out, v.s.slice(0, -1));
}

function row(v, index) {
  const i = index < 0 ? v.s[0] + Math.trunc(index) : Math.trunc(index);
  if (i >= v.s[0]) throw new Error(`there is no row ${index} in ${v.s[0]}`);
  const size = v.d.length / v.s[0];
  return shaped(v.d.slice(i * size, (i + 1) * size), v.s.slice(1));
}

function nearest(points, centres) {
  const out = new Float64Array(points.d.length / 2);
  for (let i = 0; i < out.length; i++) {
    const x = points.d[2 * i];
    const y = points.d[2 * i + 1];
    let best = Infinity;
    for (let k = 0; k < centres.d.length; k += 2) {
      const dx = x - centres.d[k];
      const dy = y - centres.d[k + 1];
      best = Math.min(best, dx * dx + dy * dy);
    }
    out[i] = Math.sqrt(best);
  }
  return { d: out, s: [out.length] };
}

// Bilinear reading of a field at points (..., 2), clamped to its bounds.
function at(field, points, [x0, x1, y0, y1]) {
  const [rows, cols] = field.s;
  const f = field.d;
  const clamp = (v) => Math.min(Math.max(v, 0), 1);
  const out = new Float64Array(points.d.length / 2);
  for (let k = 0; k < out.length; k++) {
    let u = clamp((points.d[2 * k] - x0) / (x1 - x0)) * (cols - 1);
    let v = clamp((points.d[2 * k + 1] - y0) / (y1 - y0)) * (rows - 1);
    const [j, i] = [Math.min(Math.trunc(u), cols - 2), Math.min(Math.trunc(v), rows - 2)];
    const p = i * cols + j;
    u -= j;
    v -= i;
    const below = f[p] * (1 - u) + f[p + 1] * u;
    const above = f[p + cols] * (1 - u) + f[p + cols + 1] * u;
    out[k] = below * (1 - v) + above * v;
  }
  return shaped(out, points.s.slice(0, -1));
}

function vertex(low, mid, high) {
  const bend = low - 2 * mid + high;
  return Number.isFinite(bend) && bend > 0 ? (0.5 * (low - high)) / bend : 0;
}

// Position of a field's lowest value, refined by a parabola along each axis.
function argmin(field, [x0, x1, y0, y1]) {
  const [rows, cols] = field.s;
  const f = field.d;
  let best = -1;
  for (let k = 0; k < f.length; k++) if (f[k] === f[k] && (best < 0 || f[k] < f[best])) best = k;
  if (best < 0) return { d: [NaN, NaN], s: [2] };
  const [i, j] = [Math.floor(best / cols), best % cols];
  const du = j > 0 && j < cols - 1 ? vertex(f[best - 1], f[best], f[best + 1]) : 0;
  const dv = i > 0 && i < rows - 1 ? vertex(f[best - cols], f[best], f[best + cols]) : 0;
  const d = [x0 + ((j + du) * (x1 - x0)) / (cols - 1), y0 + ((i + dv) * (y1 - y0)) / (rows - 1)];
  return { d: Float64Array.from(d), s: [2] };
}

const PURE = {
  "+": (a, b) => arithmetic("+", a, b),
  "-": (a, b) => arithmetic("-", a, b),
  "*": (a, b) => arithmetic("*", a, b),
  "/": (a, b) => arithmetic("/", a, b),
  "**": (a, b) => pairwise(Math.pow, a, b),
  neg: (a) => each((x) => -x, a),
  "<": (a, b) => pairwise((x, y) => +(x < y), a, b),
  "<=": (a, b) => pairwise((x, y) => +(x <= y), a, b),
  ">": (a, b) => pairwise((x, y) => +(x > y), a, b),
  ">=": (a, b) => pairwise((x, y) => +(x >= y), a, b),
  "==": (a, b) => pairwise((x, y) => +(x === y), a, b),
  "!=": (a, b) => pairwise((x, y) => +(x !== y), a, b),
  where,
  min: (...v) => v.reduce((a, b) => pairwise(Math.min, a, b)),
  max: (...v) => v.reduce((a, b) => pairwise(Math.max, a, b)),
  exp: (a) => each(Math.exp, a),
  log: (a) => each(Math.log, a),
  sqrt: (a) => each(Math.sqrt, a),
  abs: (a) => each(Math.abs, a),
  lowest: (a) => extreme(a, 1),
  highest: (a) => extreme(a, -1),
  mean,
  median,
  total,
  norm,
  point: (x, y) => ({ d: Float64Array.of(scalar(x), scalar(y)), s: [2] }),
  x: (p) => column(p, 0),
  y: (p) => column(p, 1),
  column,
  row,
  nearest,
};
