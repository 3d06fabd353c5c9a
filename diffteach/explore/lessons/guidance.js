// Mirrors the operations of guidance_moves.py; turn is in one_point.js.

const each = (v, i) => (typeof v === "number" ? v : v.d.length > 1 ? v.d[i] : v.d[0]);
const Z = Array.from({ length: 33 }, (_, k) => -6 + 0.375 * k);

function valueAt(x, y, [kind, p, q, c]) {
  if (kind === 1) return (-c / 2) * ((x - p) ** 2 + (y - q) ** 2);
  const along = p * x + q * y;
  return kind === 0 ? along : 1 / (1 + Math.exp(-along));
}

function slopeAt(x, y, energy) {
  const [kind, p, q, c] = energy;
  if (kind === 1) return [-c * (x - p), -c * (y - q)];
  const v = kind === 2 ? valueAt(x, y, energy) : 0;
  const rise = kind === 2 ? v * (1 - v) : 1;
  return [rise * p, rise * q];
}

// The components of the clean point's law: [log share, x, y] and their common variance.
function posterior(x, y, alpha, sigma, centres, std) {
  const total = alpha ** 2 * std ** 2 + sigma ** 2;
  const gain = (alpha * std ** 2) / total;
  const found = [];
  for (let k = 0; k < centres.length; k += 2) {
    const [gx, gy] = [x - alpha * centres[k], y - alpha * centres[k + 1]];
    found.push([-(gx * gx + gy * gy) / (2 * total), centres[k] + gain * gx, centres[k + 1] + gain * gy]);
  }
  return [found, (std ** 2 * sigma ** 2) / total];
}

// [log E exp(beta Q), x, y] of N((x, y), v I), the mean being that after the tilt.
function shifted(x, y, v, [kind, p, q, c], beta) {
  if (beta === 0) return [0, x, y];
  const squared = p * p + q * q;
  if (kind === 0) {
    const b = beta * v;
    return [beta * (p * x + q * y) + (beta * b * squared) / 2, x + b * p, y + b * q];
  }
  if (kind === 1) {
    const stiff = beta * c;
    const shrink = 1 + stiff * v;
    const gap = (x - p) ** 2 + (y - q) ** 2;
    return [(-stiff / (2 * shrink)) * gap, (x + stiff * v * p) / shrink, (y + stiff * v * q) / shrink];
  }
  const [length, wide, along] = [Math.sqrt(squared), Math.sqrt(v), p * x + q * y];
  const logs = Z.map((z) => beta / (1 + Math.exp(-along - length * wide * z)) - (z * z) / 2);
  const top = Math.max(...logs);
  let [total, mean] = [0, 0];
  logs.forEach((log, k) => {
    const w = Math.exp(log - top);
    total += w;
    mean += w * Z[k];
  });
  const move = ((mean / total) * wide) / length;
  return [top + Math.log(total), x + move * p, y + move * q];
}

// Weighted mean of [log weight, x, y], and the shares.
function averaged(rows) {
  const top = Math.max(...rows.map((r) => r[0]));
  const weights = rows.map((r) => Math.exp(r[0] - top));
  const total = weights.reduce((sum, w) => sum + w, 0);
  const mean = [0, 0];
  rows.forEach((r, k) => {
    mean[0] += (weights[k] / total) * r[1];
    mean[1] += (weights[k] / total) * r[2];
  });
  return [mean, weights.map((w) => w / total)];
}

function tiltedMean([rows, v], energy, beta) {
  return averaged(
    rows.map(([log, x, y]) => {
      const [gain, mx, my] = shifted(x, y, v, energy, beta);
      return [log + gain, mx, my];
    }),
  )[0];
}

function tilted(points, alpha, sigma, centres, std, energy, beta) {
  const out = new Float64Array(points.d.length);
  for (let i = 0; 2 * i < out.length; i++) {
    const known = posterior(points.d[2 * i], points.d[2 * i + 1], each(alpha, i), each(sigma, i), centres.d, std);
    out.set(tiltedMean(known, energy.d, each(beta, i)), 2 * i);
  }
  return { d: out, s: points.s };
}

function guides(points, alpha, sigma, centres, std, energy, beta) {
  const n = points.d.length / 2;
  const out = new Float64Array(8 * n);
  for (let i = 0; i < n; i++) {
    const [x, y, a, s, b] = [points.d[2 * i], points.d[2 * i + 1], each(alpha, i), each(sigma, i), each(beta, i)];
    const known = posterior(x, y, a, s, centres.d, std);
    const [clean, shares] = averaged(known[0]);
    const aim = tiltedMean(known, energy.d, b);
    const [there, here] = [slopeAt(...clean, energy.d), slopeAt(x, y, energy.d)];
    const spread = there.map((g) => known[1] * g);
    known[0].forEach(([, mx, my], k) => {
      const [gx, gy] = [mx - clean[0], my - clean[1]];
      const across = shares[k] * (gx * there[0] + gy * there[1]);
      spread[0] += across * gx;
      spread[1] += across * gy;
    });
    for (let c = 0; c < 2; c++) {
      out[2 * i + c] = (a / s ** 2) * (aim[c] - clean[c]);
      out[2 * (n + i) + c] = b * here[c];
      out[2 * (2 * n + i) + c] = b * there[c];
      out[2 * (3 * n + i) + c] = ((b * a) / s ** 2) * spread[c];
    }
  }
  return { d: out, s: [4, n, 2] };
}

function overGrid(size, box, height) {
  const [x0, x1, y0, y1] = box.d;
  const out = new Float64Array(size * size);
  for (let i = 0; i < size; i++)
    for (let j = 0; j < size; j++)
      out[i * size + j] = height(x0 + (j * (x1 - x0)) / (size - 1), y0 + (i * (y1 - y0)) / (size - 1));
  return { d: out, s: [size, size] };
}

function landscape(alpha, sigma, centres, std, size, box) {
  const total = 2 * (alpha ** 2 * std ** 2 + sigma ** 2);
  const n = centres.d.length / 2;
  const gaps = new Float64Array(n);
  return overGrid(size, box, (x, y) => {
    let top = Infinity;
    for (let k = 0; k < n; k++) {
      gaps[k] = (x - alpha * centres.d[2 * k]) ** 2 + (y - alpha * centres.d[2 * k + 1]) ** 2;
      top = Math.min(top, gaps[k]);
    }
    let sum = 0;
    for (const gap of gaps) sum += Math.exp((top - gap) / total);
    return Math.log(sum) - top / total;
  });
}

const praise = (energy, size, box) => overGrid(size, box, (x, y) => valueAt(x, y, energy.d));
