// Mirrors the operations of sampling_without_data_moves.py; vectorsAt and listed are in vectors.js.

const [COARSE, FINE, CROWD] = [65, 101, 1024];

// Log-density at one point, of a mixture or of the two crescents.
function logDensity(x, y, means, stds, logs, moons) {
  if (moons) {
    const ring = (Math.hypot(x, y) - 2) / 0.2;
    const [left, right] = [-0.5 * ((x + 2) / 0.3) ** 2, -0.5 * ((x - 2) / 0.3) ** 2];
    const [best, other] = left > right ? [left, right] : [right, left];
    return logs.d[0] - (ring * ring) / 2 + best + Math.log1p(Math.exp(other - best));
  }
  const n = stds.d.length;
  let best = -Infinity;
  let sum = 0;
  for (let k = 0; k < n; k++) {
    const dx = x - means.d[2 * k];
    const dy = y - means.d[2 * k + 1];
    const term = logs.d[k] - (dx * dx + dy * dy) / (2 * stds.d[k] * stds.d[k]);
    sum = term > best ? sum * Math.exp(best - term) + 1 : sum + Math.exp(term - best);
    best = Math.max(best, term);
  }
  return best + Math.log(sum);
}

function energies(x, means, stds, logs, moons) {
  const n = x.d.length / 2;
  const out = new Float64Array(n);
  for (let i = 0; i < n; i++) out[i] = logDensity(x.d[2 * i], x.d[2 * i + 1], means, stds, logs, moons);
  return { d: out, s: [n] };
}

function cloud(eps, probe, noise, count) {
  const n = Math.min(Math.trunc(count), eps.d.length / 2);
  const out = new Float64Array(2 * n);
  for (let i = 0; i < 2 * n; i++) out[i] = probe.d[i % 2] - noise * eps.d[i];
  return { d: out, s: [n, 2] };
}

function fourfold(eps) {
  const n = eps.d.length / 2;
  const out = new Float64Array(8 * n);
  for (let i = 0; i < n; i++) {
    const [x, y] = [eps.d[2 * i], eps.d[2 * i + 1]];
    [[x, y], [-y, x], [-x, -y], [y, -x]].forEach((pair, k) => out.set(pair, 2 * (k * n + i)));
  }
  return { d: out, s: [4 * n, 2] };
}

// Weights exp((e - best)/temperature) of entries from..to, and their sum.
function exponentials(e, from, to, temperature) {
  let best = -Infinity;
  for (let i = from; i < to; i++) best = Math.max(best, e[i]);
  const w = new Float64Array(to - from);
  let sum = 0;
  for (let i = from; i < to; i++) sum += w[i - from] = Math.exp((e[i] - best) / temperature);
  return { w, sum, best };
}

function shares(energy, temperature) {
  const { w, sum } = exponentials(energy.d, 0, energy.d.length, temperature);
  return { d: w.map((v) => v / sum), s: energy.s };
}

function weighed(weight, x) {
  const out = new Float64Array(2);
  weight.d.forEach((w, i) => {
    out[0] += w * x.d[2 * i];
    out[1] += w * x.d[2 * i + 1];
  });
  return { d: out, s: [2] };
}

// Points whose value lies in [low, high), the others as NaN.
function kept(x, value, low, high) {
  const d = x.d.map((v, i) => (value.d[i >> 1] >= low && value.d[i >> 1] < high ? v : NaN));
  return { d, s: x.s };
}

const ess = (weight) => 1 / weight.d.reduce((sum, w) => sum + w * w, 0);

function logMean(energy, temperature) {
  const { sum, best } = exponentials(energy.d, 0, energy.d.length, temperature);
  return best / temperature + Math.log(sum / energy.d.length);
}

function grouped(x, energy, temperature, count) {
  const k = Math.trunc(count);
  const n = Math.floor(energy.d.length / k);
  const out = new Float64Array(2 * n);
  for (let g = 0; g < n; g++) {
    const { w, sum } = exponentials(energy.d, g * k, (g + 1) * k, temperature);
    for (let i = 0; i < k; i++) {
      out[2 * g] += (w[i] * x.d[2 * (g * k + i)]) / sum;
      out[2 * g + 1] += (w[i] * x.d[2 * (g * k + i) + 1]) / sum;
    }
  }
  return { d: out, s: [n, 2] };
}

function centre(x) {
  const out = new Float64Array(2);
  x.d.forEach((v, i) => (out[i % 2] += v / x.s[0]));
  return { d: out, s: [2] };
}

const segment = (start, end) => ({ d: Float64Array.of(...start.d, ...end.d), s: [2, 2] });

function misses(x, energy, temperature, counts, exact) {
  const out = [];
  for (const count of counts.d) {
    const { d, s } = grouped(x, energy, temperature, count);
    let square = 0;
    let mx = 0;
    let my = 0;
    for (let g = 0; g < s[0]; g++) {
      const dx = d[2 * g] - exact.d[0];
      const dy = d[2 * g + 1] - exact.d[1];
      square += dx * dx + dy * dy;
      mx += dx;
      my += dy;
    }
    out.push(Math.sqrt(square / s[0]), Math.hypot(mx, my) / s[0]);
  }
  return { d: Float64Array.from(out), s: [counts.d.length, 2] };
}

function essOver(eps, probe, temperature, count, levels, means, stds, logs, moons) {
  const k = Math.trunc(count);
  const out = Float64Array.from(levels.d, (s) => {
    const e = energies(cloud(eps, probe, s, CROWD), means, stds, logs, moons).d;
    let total = 0;
    for (let from = 0; from < CROWD; from += k) {
      const { w, sum } = exponentials(e, from, from + k, temperature);
      total += (sum * sum) / w.reduce((a, v) => a + v * v, 0);
    }
    return (total * k) / CROWD;
  });
  return { d: out, s: [out.length] };
}

const line = (low, high, n) => Float64Array.from({ length: n }, (_, i) => low + ((high - low) * i) / (n - 1));

// Mean, spread and log of the sum of exp(E/temperature) N(x; probe, noise^2 I) on a grid.
function gridPass(xs, ys, probe, noise, temperature, [means, stds, logs, moons]) {
  const n = xs.length * ys.length;
  const log = new Float64Array(n);
  const [px, py] = probe.d;
  let best = -Infinity;
  for (let i = 0, o = 0; i < ys.length; i++) {
    for (let j = 0; j < xs.length; j++, o++) {
      const far = (xs[j] - px) ** 2 + (ys[i] - py) ** 2;
      log[o] = logDensity(xs[j], ys[i], means, stds, logs, moons) / temperature - far / (2 * noise * noise);
      if (log[o] > best) best = log[o];
    }
  }
  let [sum, x, y, xx, yy] = [0, 0, 0, 0, 0];
  for (let o = 0; o < n; o++) sum += log[o] = Math.exp(log[o] - best);
  const each = (f) => {
    for (let i = 0, o = 0; i < ys.length; i++) for (let j = 0; j < xs.length; j++, o++) f(log[o] / sum, xs[j], ys[i]);
  };
  each((w, u, v) => {
    x += w * u;
    y += w * v;
  });
  each((w, u, v) => {
    xx += w * (u - x) ** 2;
    yy += w * (v - y) ** 2;
  });
  return { mean: [x, y], spread: [Math.sqrt(xx), Math.sqrt(yy)], log: best + Math.log(sum) };
}

function posterior(probe, noise, temperature, half, means, stds, logs, moons) {
  const law = [means, stds, logs, moons];
  const axis = line(-half, half, COARSE);
  const { mean, spread } = gridPass(axis, axis, probe, noise, temperature, law);
  const [xs, ys] = mean.map((m, k) => {
    const reach = Math.max(7 * spread[k], (3 * half) / COARSE);
    return line(Math.max(m - reach, -half), Math.min(m + reach, half), FINE);
  });
  const found = gridPass(xs, ys, probe, noise, temperature, law);
  const cell = (xs[1] - xs[0]) * (ys[1] - ys[0]);
  const log = found.log + Math.log(cell / (2 * Math.PI * noise * noise));
  return { d: Float64Array.of(...found.mean, log), s: [3] };
}
