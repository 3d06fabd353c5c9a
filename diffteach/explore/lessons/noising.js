// Mirrors moment(), trails(), zoomed() and vector() of processes.py.

// Item of a stack (T, ...) at a value between its knots, as a view or a blend of two.
function between(array, knots, value) {
  const k = Math.max(0, Math.min(knots.length - 2, knots.filter((knot) => knot <= value).length - 1));
  const share = Math.min(Math.max((value - knots[k]) / (knots[k + 1] - knots[k]), 0), 1);
  const shape = array.s.slice(1);
  const size = shape.reduce((p, q) => p * q, 1);
  const out = new Float64Array(size);
  const [low, high] = [k * size, (k + 1) * size];
  for (let i = 0; i < size; i++) out[i] = array.d[low + i] * (1 - share) + array.d[high + i] * share;
  return { d: out, s: shape };
}

const reversed = (knots) => Array.from(knots, (t) => 2 - t).reverse();

// The film's present half: (T, N, 2) and its clock.
function half(there, back, which, knots, time) {
  if (time <= 1) return [there, Array.from(knots.d)];
  const size = back.d.length / back.s[0];
  return [{ d: back.d.slice(which * size, (which + 1) * size), s: back.s.slice(1) }, reversed(knots.d)];
}

function moment(there, back, which, knots, time, first, count) {
  const [path, clock] = half(there, back, which, knots, time);
  const now = between(path, clock, time);
  return { d: now.d.slice(2 * first, 2 * (first + count)), s: [count, 2] };
}

function trails(there, back, which, knots, time, first, count, gains, gain) {
  const [path, clock] = half(there, back, which, knots, time);
  const scale = time <= 1 ? gains.d : Array.from(gains.d).reverse();
  const now = between(path, clock, time).d;
  const [steps, n] = path.s;
  const out = new Float64Array(count * (steps + 1) * 2).fill(NaN);
  const past = clock.filter((knot) => knot <= time).length;
  for (let p = 0; p < count; p++) {
    for (let a = 0; a < 2; a++) {
      const [to, from] = [p * (steps + 1) * 2 + a, 2 * (first + p) + a];
      for (let k = 0; k < past; k++) out[to + 2 * k] = path.d[k * n * 2 + from] / scale[k];
      out[to + 2 * past] = now[from] / gain;
    }
  }
  return { d: out, s: [count, steps + 1, 2] };
}

function zoomed(fields, knots, t, factor, box) {
  const { d, s } = between(fields, Array.from(knots.d), t);
  const [rows, cols] = s;
  const [x0, x1, y0, y1] = box.d;
  const place = (j, n, low, high) => {
    const v = (factor * (low + (j * (high - low)) / (n - 1)) - low) / (high - low);
    const u = Math.min(Math.max(v, 0), 1) * (n - 1);
    const k = Math.min(Math.floor(u), n - 2);
    return [k, u - k];
  };
  const across = Array.from({ length: cols }, (_, j) => place(j, cols, x0, x1));
  const out = new Float64Array(rows * cols);
  for (let i = 0; i < rows; i++) {
    const [r, v] = place(i, rows, y0, y1);
    for (let j = 0; j < cols; j++) {
      const [c, u] = across[j];
      const o = r * cols + c;
      out[i * cols + j] = (d[o] * (1 - u) + d[o + 1] * u) * (1 - v) + (d[o + cols] * (1 - u) + d[o + cols + 1] * u) * v;
    }
  }
  return { d: out, s };
}

function vector(fields, knots, t, point, box) {
  return { d: vectorsAt(between(fields, Array.from(knots.d), t), point, box).d, s: [2] };
}

const reading = (rows, knots, t) => between(rows, Array.from(knots.d), t);
