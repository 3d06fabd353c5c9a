// Mirrors score_regularization.py: reading a force field, and descending a quadratic plus its pull.

function readForce(force, x, y, bounds) {
  const [, rows, cols] = force.s;
  const [x0, x1, y0, y1] = bounds;
  let u = Math.min(Math.max((x - x0) / (x1 - x0), 0), 1) * (cols - 1);
  let v = Math.min(Math.max((y - y0) / (y1 - y0), 0), 1) * (rows - 1);
  const j = Math.min(Math.floor(u), cols - 2);
  const i = Math.min(Math.floor(v), rows - 2);
  u -= j;
  v -= i;
  const at = i * cols + j;
  const read = (o) =>
    (force.d[o] * (1 - u) + force.d[o + 1] * u) * (1 - v) +
    (force.d[o + cols] * (1 - u) + force.d[o + cols + 1] * u) * v;
  return [read(at), read(rows * cols + at)];
}

function forceAt(force, points, bounds) {
  const out = new Float64Array(points.d.length);
  for (let k = 0; k < points.d.length; k += 2) {
    const [fx, fy] = readForce(force, points.d[k], points.d[k + 1], bounds.d);
    out[k] = fx;
    out[k + 1] = fy;
  }
  return { d: out, s: points.s };
}

// Adam because the pull's curvature spans four orders of magnitude along one slider.
function descend(targets, force, strength, bounds) {
  const n = targets.d.length;
  const point = Float64Array.from(targets.d);
  const first = new Float64Array(n);
  const second = new Float64Array(n);
  const steps = 200;
  for (let step = 1; step <= steps; step++) {
    const rate = 0.1 * 0.5 * (1 + Math.cos((Math.PI * (step - 1)) / steps));
    const c1 = 1 - 0.8 ** step;
    const c2 = 1 - 0.95 ** step;
    for (let k = 0; k < n; k += 2) {
      const f = readForce(force, point[k], point[k + 1], bounds.d);
      for (let a = 0; a < 2; a++) {
        const g = (2 * (point[k + a] - targets.d[k + a]) + strength * f[a]) / (2 + strength);
        first[k + a] = 0.8 * first[k + a] + 0.2 * g;
        second[k + a] = 0.95 * second[k + a] + 0.05 * g * g;
        point[k + a] -= (rate * first[k + a]) / c1 / (Math.sqrt(second[k + a] / c2) + 1e-6);
      }
    }
  }
  return { d: point, s: targets.s };
}
