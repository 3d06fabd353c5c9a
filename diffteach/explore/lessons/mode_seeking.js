// Mirrors mode_seeking.py: a tilted mixture of isotropic Gaussians, and Gaussians fitted to it.
// A target is rows (weight, x, y, variance); a fit is rows (x, y, l11, l21, l22, reverse, forward).

// Equally spaced nodes: log p has kinks between modes that Gauss-Hermite's outer nodes would miss.
const COUNT = 28;
const Z = Float64Array.from({ length: COUNT }, (_, i) => -4.2 + (8.4 * i) / (COUNT - 1));
const SHARE = (() => {
  const raw = Z.map((z) => Math.exp(-0.5 * z * z));
  const total = raw.reduce((sum, w) => sum + w, 0);
  return raw.map((w) => w / total);
})();
const STEPS = 90;
const RATE = 0.2;

function tilted(mixture, slope, lam) {
  const n = mixture.s[0];
  const out = new Float64Array(4 * n);
  let top = -Infinity;
  const bx = slope.d[0] / lam;
  const by = slope.d[1] / lam;
  for (let k = 0; k < n; k++) {
    const [w, x, y, v] = mixture.d.slice(4 * k, 4 * k + 4);
    out[4 * k] = Math.log(w) + bx * x + by * y + 0.5 * v * (bx * bx + by * by);
    out[4 * k + 1] = x + v * bx;
    out[4 * k + 2] = y + v * by;
    out[4 * k + 3] = v;
    top = Math.max(top, out[4 * k]);
  }
  let total = 0;
  for (let k = 0; k < n; k++) total += Math.exp(out[4 * k] - top);
  for (let k = 0; k < n; k++) out[4 * k] = Math.exp(out[4 * k] - top) / total;
  return { d: out, s: mixture.s };
}

function prepared(target) {
  const n = target.s[0];
  const level = new Float64Array(n);
  for (let k = 0; k < n; k++) level[k] = Math.log(target.d[4 * k] / (2 * Math.PI * target.d[4 * k + 3]));
  return { n, level, d: target.d, share: new Float64Array(n), out: new Float64Array(3) };
}

// Writes log p, d log p/dx, d log p/dy at one point into p.out.
function logAt(p, x, y) {
  const { n, level, d, share, out } = p;
  let top = -Infinity;
  for (let k = 0; k < n; k++) {
    const dx = d[4 * k + 1] - x;
    const dy = d[4 * k + 2] - y;
    share[k] = level[k] - (0.5 * (dx * dx + dy * dy)) / d[4 * k + 3];
    if (share[k] > top) top = share[k];
  }
  let total = 0;
  let gx = 0;
  let gy = 0;
  for (let k = 0; k < n; k++) {
    const w = Math.exp(share[k] - top);
    total += w;
    gx += (w * (d[4 * k + 1] - x)) / d[4 * k + 3];
    gy += (w * (d[4 * k + 2] - y)) / d[4 * k + 3];
  }
  out[0] = top + Math.log(total);
  out[1] = gx / total;
  out[2] = gy / total;
  return out;
}

function logDensity(target, box, size) {
  const [x0, x1, y0, y1] = box.d;
  const out = new Float64Array(size * size);
  const p = prepared(target);
  for (let i = 0; i < size; i++)
    for (let j = 0; j < size; j++)
      out[i * size + j] = logAt(
        p,
        x0 + (j * (x1 - x0)) / (size - 1),
        y0 + (i * (y1 - y0)) / (size - 1),
      )[0];
  return { d: out, s: [size, size] };
}

function moments(target) {
  const m = [0, 0, 0, 0, 0];
  for (let k = 0; k < target.d.length; k += 4) {
    const [w, x, y, v] = target.d.slice(k, k + 4);
    m[0] += w * x;
    m[1] += w * y;
    m[2] += w * (x * x + v);
    m[3] += w * x * y;
    m[4] += w * (y * y + v);
  }
  return [m[0], m[1], m[2] - m[0] * m[0], m[3] - m[0] * m[1], m[4] - m[1] * m[1]];
}

function entropy(target) {
  const p = prepared(target);
  let total = 0;
  for (let k = 0; k < target.d.length; k += 4) {
    const [w, x, y, v] = target.d.slice(k, k + 4);
    if (w === 0) continue;
    const s = Math.sqrt(v);
    for (let i = 0; i < COUNT; i++)
      for (let j = 0; j < COUNT; j++)
        total -= w * SHARE[i] * SHARE[j] * logAt(p, x + s * Z[i], y + s * Z[j])[0];
  }
  return total;
}

// E log p and its slopes along (x, y, log l11, l21, log l22) for N((x, y), L L').
function expected(p, [x, y, a, b, c]) {
  const out = new Float64Array(6);
  for (let i = 0; i < COUNT; i++)
    for (let j = 0; j < COUNT; j++) {
      const w = SHARE[i] * SHARE[j];
      const read = logAt(p, x + a * Z[i], y + b * Z[i] + c * Z[j]);
      const gx = w * read[1];
      const gy = w * read[2];
      out[0] += w * read[0];
      out[1] += gx;
      out[2] += gy;
      out[3] += gx * Z[i] * a;
      out[4] += gy * Z[i];
      out[5] += gy * Z[j] * c;
    }
  return out;
}

function forwardKL([x, y, a, b, c], [mx, my, sxx, sxy, syy], targetEntropy) {
  const dxx = sxx + (mx - x) ** 2;
  const dxy = sxy + (mx - x) * (my - y);
  const dyy = syy + (my - y) ** 2;
  const u = 1 / a;
  const v = -b / (a * c);
  const t = 1 / c;
  const trace = (u * u + v * v) * dxx + 2 * v * t * dxy + t * t * dyy;
  return Math.log(2 * Math.PI * a * c) + 0.5 * trace - targetEntropy;
}

function start(handle, width) {
  return [handle.d[0], handle.d[1], width, 0, width];
}

// One row of a path; `seen` is expected(p, state), which a step of the reverse KL needs as well.
function recorded(p, state, seen, mean, targetEntropy) {
  const [x, y, a, , c] = state;
  if (!seen) {
    const gap = mean[2] + mean[4] + (mean[0] - x) ** 2 + (mean[1] - y) ** 2;
    return [...state, -logAt(p, x, y)[0], gap / 2];
  }
  const reverse = -Math.log(2 * Math.PI * Math.E * a * c) - seen[0];
  return [...state, reverse, forwardKL(state, mean, targetEntropy)];
}

function fitted(target, handle, width, gaussian, step) {
  const mean = moments(target);
  const targetEntropy = entropy(target);
  const p = prepared(target);
  let state = start(handle, gaussian ? width : 1e-3);
  const rows = [];
  for (let k = 0; k <= STEPS; k++) {
    const seen = gaussian ? expected(p, state) : null;
    rows.push(recorded(p, state, seen, mean, targetEntropy));
    state = step(state, mean, p, seen);
  }
  return { d: Float64Array.from(rows.flat()), s: [rows.length, 7] };
}

function reversePath(target, handle, width, gaussian) {
  return fitted(target, handle, width, gaussian, ([x, y, a, b, c], _mean, p, seen) => {
    if (!gaussian) {
      const [, gx, gy] = logAt(p, x, y);
      return [x + 0.03 * gx, y + 0.03 * gy, a, b, c];
    }
    const [, gx, gy, ga, gb, gc] = seen;
    return [
      x + RATE * (a * a * gx + a * b * gy),
      y + RATE * (a * b * gx + (b * b + c * c) * gy),
      a * Math.exp((RATE / 2) * (ga + 1)),
      b + (RATE / 2) * gb * c * c,
      c * Math.exp((RATE / 2) * (gc + 1)),
    ];
  });
}

function forwardPath(target, handle, width, gaussian) {
  const r = RATE / 2;
  return fitted(target, handle, width, gaussian, ([x, y, a, b, c], mean) => {
    const dx = mean[0] - x;
    const dy = mean[1] - y;
    if (!gaussian) return [x + r * dx, y + r * dy, a, b, c];
    const sxx = a * a + r * (mean[2] + (1 - r) * dx * dx - a * a);
    const sxy = a * b + r * (mean[3] + (1 - r) * dx * dy - a * b);
    const syy = b * b + c * c + r * (mean[4] + (1 - r) * dy * dy - b * b - c * c);
    const l = Math.sqrt(sxx);
    return [x + r * dx, y + r * dy, l, sxy / l, Math.sqrt(syy - (sxy * sxy) / sxx)];
  });
}

function outline(path, radius) {
  const [x, y, a, b, c] = path.d.slice(-7);
  const out = new Float64Array(2 * 65);
  for (let k = 0; k < 65; k++) {
    const u = radius * Math.cos((2 * Math.PI * k) / 64);
    const v = radius * Math.sin((2 * Math.PI * k) / 64);
    out[2 * k] = x + a * u;
    out[2 * k + 1] = y + b * u + c * v;
  }
  return { d: out, s: [65, 2] };
}

// Modes of at least 5 % within three of the fit's own deviations, or one and a half of theirs.
function kept(path, target) {
  const [x, y, a, b, c] = path.d.slice(-7);
  let count = 0;
  for (let k = 0; k < target.d.length; k += 4) {
    const [w, mx, my, v] = target.d.slice(k, k + 4);
    if (w < 0.05) continue;
    const u = (mx - x) / a;
    const t = (my - y - b * u) / c;
    const near = (mx - x) ** 2 + (my - y) ** 2 < 2.25 * v;
    if (near || u * u + t * t < 9) count += 1;
  }
  return count;
}

function modes(target) {
  let count = 0;
  for (let k = 0; k < target.d.length; k += 4) if (target.d[k] >= 0.05) count += 1;
  return count;
}

// Share of the fit's mass where the target is below one hundredth of its value at the modes.
function outside(path, target) {
  const [x, y, a, b, c] = path.d.slice(-7);
  const p = prepared(target);
  let top = -Infinity;
  for (let k = 0; k < target.d.length; k += 4)
    top = Math.max(top, logAt(p, target.d[k + 1], target.d[k + 2])[0]);
  let count = 0;
  for (let i = 0; i < 16; i++)
    for (let j = 0; j < 24; j++) {
      const r = Math.sqrt(-2 * Math.log(1 - (i + 0.5) / 16));
      const u = r * Math.cos((2 * Math.PI * (j + 0.5)) / 24);
      const v = r * Math.sin((2 * Math.PI * (j + 0.5)) / 24);
      if (logAt(p, x + a * u, y + b * u + c * v)[0] < top + Math.log(0.01)) count += 1;
    }
  return count / (16 * 24);
}

function lastMean(path) {
  const n = path.d.length;
  return { d: path.d.slice(n - 7, n - 5), s: [2] };
}

function meanPath(path) {
  const rows = path.s[0];
  const out = new Float64Array(2 * rows);
  for (let k = 0; k < rows; k++) {
    out[2 * k] = path.d[7 * k];
    out[2 * k + 1] = path.d[7 * k + 1];
  }
  return { d: out, s: [rows, 2] };
}
