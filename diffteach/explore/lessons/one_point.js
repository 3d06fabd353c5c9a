// Mirrors the operations of one_point_moves.py; vectorsAt and listed are in vectors.js.

const summed = (rows) => {
  const [bins, count] = rows.s;
  const out = new Float64Array(count);
  for (let b = 0; b < bins; b++) for (let k = 0; k < count; k++) out[k] += rows.d[b * count + k];
  return out;
};

// One field (2, H, W) of kept levels (K, 2, H, W), weighted by the column sums of rows (B, K).
function blended(rows, levels) {
  const weights = summed(rows);
  const n = levels.d.length / weights.length;
  const out = new Float64Array(n);
  weights.forEach((w, k) => {
    const start = k * n;
    for (let i = 0; i < n; i++) out[i] += w * levels.d[start + i];
  });
  return { d: out, s: levels.s.slice(1) };
}

// Each bin's pull (B, 2) at a point: rows (B, K) times the levels read there.
function bars(rows, levels, point, bounds) {
  const [bins, count] = rows.s;
  const n = levels.d.length / count;
  const out = new Float64Array(2 * bins);
  for (let k = 0; k < count; k++) {
    const level = { d: levels.d.subarray(k * n, (k + 1) * n), s: levels.s.slice(1) };
    const [x, y] = vectorsAt(level, point, bounds).d;
    for (let b = 0; b < bins; b++) {
      out[2 * b] += rows.d[b * count + k] * x;
      out[2 * b + 1] += rows.d[b * count + k] * y;
    }
  }
  return { d: out, s: [bins, 2] };
}

// Outline (2B + 2) of bars, from zero to zero.
function stairs(heights) {
  const n = heights.d.length;
  const out = new Float64Array(2 * n + 2);
  for (let b = 0; b < n; b++) out[2 * b + 1] = out[2 * b + 2] = heights.d[b];
  return { d: out, s: [2 * n + 2] };
}

// Degrees between two vectors.
function turn(u, v) {
  const cross = u.d[0] * v.d[1] - u.d[1] * v.d[0];
  const dot = u.d[0] * v.d[0] + u.d[1] * v.d[1];
  return (Math.abs(Math.atan2(cross, dot)) * 180) / Math.PI;
}

// The straight line (2, 2) from a point along a vector.
function segment(point, along) {
  const [x, y] = point.d;
  return { d: Float64Array.of(x, y, x + along.d[0], y + along.d[1]), s: [2, 2] };
}

// Steepest rise of a field's own component along its axis: what a step of descent must not exceed.
function steepest(force, bounds) {
  const [, rows, cols] = force.s;
  const [x0, x1, y0, y1] = bounds.d;
  const [dx, dy] = [(x1 - x0) / (cols - 1), (y1 - y0) / (rows - 1)];
  const { d } = force;
  let most = 0;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) {
      const o = i * cols + j;
      if (j + 1 < cols) most = Math.max(most, (d[o + 1] - d[o]) / dx);
      const p = rows * cols + o;
      if (i + 1 < rows) most = Math.max(most, (d[p + cols] - d[p]) / dy);
    }
  }
  return most;
}

// Descent path (101, 2) of |a - target|^2 plus strength times the pull, every fourth of 400 steps.
function slide(point, target, force, strength, bounds) {
  const at = Float64Array.from(point.d);
  const stiff = 2 + 1.5 * strength * steepest(force, bounds);
  const out = new Float64Array(202);
  out.set(at);
  for (let step = 1; step <= 400; step++) {
    const f = vectorsAt(force, { d: at, s: [2] }, bounds).d;
    for (let a = 0; a < 2; a++) at[a] -= (2 * (at[a] - target.d[a]) + strength * f[a]) / stiff;
    if (step % 4 === 0) out.set(at, step / 2);
  }
  return { d: out, s: [101, 2] };
}
