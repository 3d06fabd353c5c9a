// Mirrors the operations of regularizers_moves.py; vectorsAt and listed are in vectors.js.

const [STEPS, FOLLOW] = [40, 10];

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

// Slope of -Q at a point, into out: 0 "near the target", 1 "far out", 2 "none".
function uphill(x, y, target, reward, out) {
  out[0] = out[1] = 0;
  if (reward === 0) {
    out[0] = 2 * (x - target.d[0]);
    out[1] = 2 * (y - target.d[1]);
  } else if (reward === 1) {
    const r = Math.max(Math.hypot(x, y), 1e-3);
    out[0] = (-2 * x) / r;
    out[1] = (-2 * y) / r;
  }
}

// Descent (T + 1, N, 2) of strength times a regulariser minus Q, given the pull on all points.
function descent(start, target, reward, strength, stiff, pullAt, steps = STEPS) {
  const n = start.d.length / 2;
  const at = Float64Array.from(start.d);
  const points = { d: at, s: [n, 2] };
  const out = new Float64Array((steps + 1) * 2 * n);
  const slope = [0, 0];
  out.set(at);
  for (let step = 1; step <= steps; step++) {
    const pull = pullAt(points);
    for (let i = 0; i < n; i++) {
      const k = typeof strength === "number" ? strength : strength.d[i];
      uphill(at[2 * i], at[2 * i + 1], target, reward, slope);
      const whole = 2 + k * stiff;
      at[2 * i] -= (slope[0] + k * pull[2 * i]) / whole;
      at[2 * i + 1] -= (slope[1] + k * pull[2 * i + 1]) / whole;
    }
    out.set(at, step * 2 * n);
  }
  return { d: out, s: [steps + 1, n, 2] };
}

// Each action by itself: descent along a field (2, H, W).
function pulled(start, target, reward, force, strength, bounds) {
  const stiff = 1.5 * steepest(force, bounds);
  return descent(start, target, reward, strength, stiff, (at) => vectorsAt(force, at, bounds).d);
}

// The same memory for every call, and no pairs in inner loops: a frame has hundreds of calls, and
// what they leave behind keeps the garbage collector busy.
const memory = [];
const room = (slot, n) => (memory[slot]?.length >= n ? memory[slot] : (memory[slot] = new Float64Array(n)));

// exp(scale |member - point|^2) for every pair, a row's largest made 1; of a pair of members once.
function closeness(points, members, scale, out) {
  const [n, m] = [points.d.length / 2, members.d.length / 2];
  const [from, to] = [points.d, members.d];
  for (let i = 0; i < n; i++) {
    const x = from[2 * i];
    const y = from[2 * i + 1];
    if (points === members) {
      out[i * m + i] = 1;
      for (let k = 0; k < i; k++) {
        const dx = to[2 * k] - x;
        const dy = to[2 * k + 1] - y;
        out[i * m + k] = out[k * m + i] = Math.exp(scale * (dx * dx + dy * dy));
      }
      continue;
    }
    let near = Infinity;
    for (let k = 0; k < m; k++) {
      const far = (to[2 * k] - x) ** 2 + (to[2 * k + 1] - y) ** 2;
      if (far < near) near = far;
    }
    for (let k = 0; k < m; k++) {
      out[i * m + k] = Math.exp(scale * ((to[2 * k] - x) ** 2 + (to[2 * k + 1] - y) ** 2 - near));
    }
  }
}

// What a policy's own noise predictor says at points: the policy is a Gaussian about each member.
// A row of kernels is a noise level's width S and the weight of (x - E[member | x]). The mean over
// x ~ N(point, S^2) takes five nodes, the point (1/3) and sqrt(3) S along each axis (1/6 each);
// Gaussians about them differ by factors of one member alone, not of a pair, and of one point,
// which cancel in a mean over members.
function crowd(points, members, kernels) {
  const [n, m] = [points.d.length, members.d.length / 2];
  const [from, to] = [points.d, members.d];
  const shares = room(0, (n * m) / 2);
  const [right, left, above, below] = [1, 2, 3, 4].map((slot) => room(slot, m));
  const out = new Float64Array(n);
  for (let l = 0; l < kernels.s[0]; l++) {
    const [width, weight] = [kernels.d[2 * l], kernels.d[2 * l + 1]];
    if (weight === 0) continue;
    closeness(points, members, -0.5 / (width * width), shares);
    for (let k = 0; k < m; k++) {
      left[k] = 1 / (right[k] = Math.exp((Math.sqrt(3) * to[2 * k]) / width));
      below[k] = 1 / (above[k] = Math.exp((Math.sqrt(3) * to[2 * k + 1]) / width));
    }
    for (let i = 0; i < n; i += 2) {
      const row = (i / 2) * m;
      let t0 = 0, x0 = 0, y0 = 0, t1 = 0, x1 = 0, y1 = 0, t2 = 0, x2 = 0, y2 = 0;
      let t3 = 0, x3 = 0, y3 = 0, t4 = 0, x4 = 0, y4 = 0;
      for (let k = 0; k < m; k++) {
        const x = to[2 * k];
        const y = to[2 * k + 1];
        const e = shares[row + k];
        t0 += e, x0 += e * x, y0 += e * y;
        const e1 = e * right[k];
        t1 += e1, x1 += e1 * x, y1 += e1 * y;
        const e2 = e * left[k];
        t2 += e2, x2 += e2 * x, y2 += e2 * y;
        const e3 = e * above[k];
        t3 += e3, x3 += e3 * x, y3 += e3 * y;
        const e4 = e * below[k];
        t4 += e4, x4 += e4 * x, y4 += e4 * y;
      }
      const share = weight / 6;
      out[i] += share * (6 * from[i] - (2 * x0) / t0 - x1 / t1 - x2 / t2 - x3 / t3 - x4 / t4);
      out[i + 1] += share * (6 * from[i + 1] - (2 * y0) / t0 - y1 / t1 - y2 / t2 - y3 / t3 - y4 / t4);
    }
  }
  return { d: out, s: points.s };
}

// What pulls on a policy's members: the field, less the policy's own score; and how stiff it is.
function whole(force, kernels, bounds) {
  let stiff = steepest(force, bounds);
  for (let l = 0; l < kernels.s[0]; l++) stiff += kernels.d[2 * l + 1];
  const pullAt = (points) => {
    const pull = vectorsAt(force, points, bounds).d;
    const apart = crowd(points, points, kernels).d;
    for (let k = 0; k < pull.length; k++) pull[k] -= apart[k];
    return pull;
  };
  return [stiff, pullAt];
}

// A policy as a whole: the field pulls its members in, and its own score keeps them apart.
function distilled(start, target, reward, force, kernels, strength, bounds) {
  return descent(start, target, reward, strength, ...whole(force, kernels, bounds));
}

// Where the mean (K, 2) of such a policy goes while lambda falls, from the last strength to the first.
function followed(start, target, reward, force, kernels, strengths, bounds) {
  const count = strengths.d.length;
  const [stiff, pullAt] = whole(force, kernels, bounds);
  const out = new Float64Array(2 * count);
  const n = start.s[0];
  let members = start;
  for (let j = count - 1; j >= 0; j--) {
    const path = descent(members, target, reward, strengths.d[j], stiff, pullAt, FOLLOW);
    members = { d: path.d.slice(2 * n * FOLLOW), s: start.s };
    for (let k = 0; k < 2 * n; k++) out[2 * j + (k % 2)] += members.d[k] / n;
  }
  return { d: out, s: [count, 2] };
}

// The members (N, 2) at a share of the way along a descent (T, N, 2), between two of its steps.
function reached(path, share) {
  const [steps, n] = path.s;
  const at = Math.min(Math.max(share, 0), 1) * (steps - 1);
  const k = Math.min(Math.floor(at), steps - 2);
  const v = at - k;
  const out = new Float64Array(2 * n);
  for (let i = 0; i < 2 * n; i++) out[i] = (1 - v) * path.d[2 * n * k + i] + v * path.d[2 * n * (k + 1) + i];
  return { d: out, s: [n, 2] };
}

// Way (T, 2) of one member along a descent (T, N, 2).
function member(path, index) {
  const [steps, n] = path.s;
  const out = new Float64Array(2 * steps);
  for (let k = 0; k < steps; k++) for (let a = 0; a < 2; a++) out[2 * k + a] = path.d[2 * (n * k + index) + a];
  return { d: out, s: [steps, 2] };
}

// Arrows (N, 2) no longer than `longest`, half of it where a vector's length is `middle`.
function shortened(vectors, middle, longest) {
  const out = new Float64Array(vectors.d.length);
  for (let k = 0; k < out.length; k += 2) {
    const size = Math.hypot(vectors.d[k], vectors.d[k + 1]);
    out[k] = (longest * vectors.d[k]) / (size + middle);
    out[k + 1] = (longest * vectors.d[k + 1]) / (size + middle);
  }
  return { d: out, s: vectors.s };
}

// Lengths of vectors (K K, 2) as a field (K, K) of powers of ten.
function sizes(vectors) {
  const n = vectors.d.length / 2;
  const out = new Float64Array(n);
  for (let i = 0; i < n; i++) out[i] = Math.log10(Math.hypot(vectors.d[2 * i], vectors.d[2 * i + 1]) + 1e-9);
  return { d: out, s: [Math.sqrt(n), Math.sqrt(n)] };
}

// One point (2) and a list (N, 2), as a list (N + 1, 2).
function joined(point, points) {
  return { d: Float64Array.of(...point.d, ...points.d), s: [points.s[0] + 1, 2] };
}
