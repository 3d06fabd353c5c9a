// Mirrors descend() of pulls.py; vectorsAt is in vectors.js.

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
    const f = vectorsAt(force, { d: point, s: targets.s }, bounds).d;
    for (let k = 0; k < n; k++) {
      const g = (2 * (point[k] - targets.d[k]) + strength * f[k]) / (2 + strength);
      first[k] = 0.8 * first[k] + 0.2 * g;
      second[k] = 0.95 * second[k] + 0.05 * g * g;
      point[k] -= (rate * first[k]) / c1 / (Math.sqrt(second[k] / c2) + 1e-6);
    }
  }
  return { d: point, s: targets.s };
}
