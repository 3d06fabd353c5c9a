// Mirrors expectile(), histogram() and above() of why_regularize.py.

// Minimiser of sum |tau - 1(v < m)| (v - m)^2 by reweighting, which ends after a few rounds.
function expectile(values, tau) {
  const v = values.d;
  let m = v.reduce((sum, x) => sum + x, 0) / v.length;
  for (let round = 0; round < 60; round++) {
    let [top, total] = [0, 0];
    for (const x of v) {
      const w = x < m ? 1 - tau : tau;
      top += w * x;
      total += w;
    }
    const next = top / total;
    if (next === m) break;
    m = next;
  }
  return m;
}

// Outline (2B + 2) of the shares of values between B + 1 edges; what lies beyond counts at the ends.
function histogram(values, edges) {
  const bins = edges.d.length - 1;
  const out = new Float64Array(2 * bins + 2);
  const [low, high] = [edges.d[0], edges.d[bins]];
  for (const x of values.d) {
    const k = Math.min(Math.max(Math.floor(((x - low) / (high - low)) * bins), 0), bins - 1);
    out[2 * k + 1] += 1 / values.d.length;
  }
  for (let k = 0; k < bins; k++) out[2 * k + 2] = out[2 * k + 1];
  return { d: out, s: [2 * bins + 2] };
}

// The points (N, 2) whose value is at least a level; the others are NaN.
function above(points, values, level) {
  const out = points.d.map((x, k) => (values.d[k >> 1] >= level ? x : NaN));
  return { d: Float64Array.from(out), s: points.s };
}
