// A packed scene, opened; and its formulas as numbers, each computed again only when it must be.

async function unpack(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const scene = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let start = 4 + length;
  const stacks = {};
  for (const entry of scene.stacks) {
    stacks[entry.name] = opened(entry, buffer.slice(start, start + entry.length));
    start += entry.length;
  }
  return { ...scene, stacks };
}

function opened(entry, body) {
  const { shape, axes, lags, low, high, top } = entry;
  const item = shape.slice(axes.length);
  const stack = { axes, item, size: item.reduce((p, q) => p * q, 1) };
  if (lags === undefined) return { ...stack, data: new Float32Array(body) };
  const planes = new Uint8Array(body);
  const n = planes.length / 2;
  const codes = new Uint16Array(n);
  for (let i = 0; i < n; i++) codes[i] = planes[i] | (planes[n + i] << 8);
  for (const lag of [...lags].reverse()) for (let i = lag; i < n; i++) codes[i] += codes[i - lag];
  const data = new Float32Array(n);
  low.forEach((start, k) => {
    const step = (high[k] - start) / top;
    for (let i = k * stack.size; i < (k + 1) * stack.size; i++) {
      const code = codes[i];
      data[i] = code <= top && code < 65533 ? start + code * step : [Infinity, -Infinity, NaN][code - 65533];
    }
  });
  return { ...stack, data };
}

// A stack's item at parameter values: blended between knots, held beyond them.
function blend(stack, value) {
  let corners = [[0, 1]];
  for (const [name, knots] of stack.axes) {
    const v = Math.min(Math.max(value(name), knots[0]), knots[knots.length - 1]);
    let k = Math.max(0, Math.min(knots.length - 2, knots.filter((knot) => knot <= v).length - 1));
    const share = knots.length === 1 ? 0 : (v - knots[k]) / (knots[k + 1] - knots[k]);
    corners = corners.flatMap(([index, weight]) => {
      const here = index * knots.length + k;
      // A share of 0 or 1 takes the knot itself, so that what lies beyond may be NaN.
      if (share === 0) return [[here, weight]];
      if (share === 1) return [[here + 1, weight]];
      return [[here, weight * (1 - share)], [here + 1, weight * share]];
    });
  }
  const { size, data, item } = stack;
  if (corners.length === 1) {
    return shaped(data.subarray(corners[0][0] * size, (corners[0][0] + 1) * size), item);
  }
  const out = new Float64Array(size);
  for (const [index, weight] of corners) {
    const start = index * size;
    for (let i = 0; i < size; i++) out[i] += weight * data[start + i];
  }
  return shaped(out, item);
}

class Frame {
  constructor(scene, functions) {
    this.scene = scene;
    this.params = Object.fromEntries(scene.params.map((p) => [p.name, p]));
    this.spatial = {
      at: (f, p) => at(f, p, scene.bounds),
      argmin: (f) => argmin(f, scene.bounds),
    };
    this.functions = functions;
    this.values = this.defaults();
    this.clock = 1;
    this.changed = {};
    this.kept = new Map();
    this.reading = new Map();
  }

  defaults() {
    const values = Object.fromEntries(this.scene.params.map((p) => [p.name, p.default]));
    return { ...values, revealed: this.scene.prediction ? 0 : 1 };
  }

  // Sets one value; false if it was that already.
  set(name, value) {
    if (String(this.values[name]) === String(value)) return false;
    this.values[name] = value;
    this.changed[name] = ++this.clock;
    return true;
  }

  // Parameters that a name or a tree depends on.
  reads(tree) {
    if (typeof tree === "number") return [];
    if (this.reading.has(tree)) return this.reading.get(tree);
    let found;
    if (Array.isArray(tree)) found = tree.slice(1).flatMap((part) => this.reads(part));
    else if (tree in this.values) found = [tree];
    else if (tree in this.scene.stacks) found = this.scene.stacks[tree].axes.map(([name]) => name);
    else if (tree in this.scene.let) found = this.reads(this.scene.let[tree]);
    else throw new Error(`there is no ${tree} here`);
    found = [...new Set(found)];
    this.reading.set(tree, found);
    return found;
  }

  fresh(tree, compute) {
    const kept = this.kept.get(tree);
    if (kept && this.reads(tree).every((name) => (this.changed[name] || 0) <= kept.at)) {
      return kept.value;
    }
    const value = compute();
    this.kept.set(tree, { value, at: this.clock });
    return value;
  }

  named(name) {
    if (name in this.values) return this.numeric(name);
    if (!(name in this.scene.stacks)) return this.of(this.scene.let[name]);
    return this.fresh(name, () => blend(this.scene.stacks[name], (axis) => scalar(this.numeric(axis))));
  }

  numeric(name) {
    const value = this.values[name];
    const param = this.params[name];
    if (param && param.kind === "choice") return param.options.indexOf(value);
    if (param && param.kind === "handle") return this.fresh(name, () => ({ d: Float64Array.from(value), s: [2] }));
    return Number(value);
  }

  // Value of a formula. What a parent needs anew may rest on parts that stayed: those are kept too.
  of(tree, above = Infinity) {
    if (typeof tree === "number") return tree;
    if (typeof tree === "string") return this.named(tree);
    const weight = this.reads(tree).length;
    const compute = () => {
      const f = PURE[tree[0]] || this.spatial[tree[0]] || this.functions[tree[0]];
      if (!f) throw new Error(`${tree[0]} is not defined`);
      return f(...tree.slice(1).map((part) => this.of(part, weight)));
    };
    return weight < above ? this.fresh(tree, compute) : compute();
  }

  shows(entry) {
    return scalar(this.of(entry.when)) !== 0;
  }

  get words() {
    if (!this.values.revealed) return this.scene.waiting;
    const said = this.scene.words.filter(([when]) => scalar(this.of(when)) !== 0);
    return said.flatMap(([, pieces]) => pieces.map((p) => (typeof p === "string" ? p : this.slot(p)))).join("");
  }

  slot([tree, form, yes, no, text]) {
    if (yes !== null) return (scalar(this.of(tree)) !== 0 ? yes : no).trim();
    const param = this.params[text];
    if (form === null && param && param.kind === "choice") return this.values[text];
    return formatNumber(scalar(this.of(tree)), form);
  }

  get score() {
    if (!this.scene.prediction) return null;
    const [a, b] = [this.numeric("guess"), this.of(this.scene.prediction.answer)];
    return Math.hypot(a.d[0] - b.d[0], a.d[1] - b.d[1]);
  }
}
