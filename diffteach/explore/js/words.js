// Numbers and labels in words, written as expression.number writes them.

// |x| with f decimals, ties to the even digit as in Python: toFixed rounds them up.
function fixed(x, f) {
  const text = x.toFixed(f);
  const scaled = x * 10 ** f;
  const tie = Number.isInteger(x * 2 ** (f + 1)) && scaled - Math.floor(scaled) === 0.5;
  return tie && Math.floor(scaled) % 2 === 0 ? (Math.floor(scaled) / 10 ** f).toFixed(f) : text;
}

// x, or just below it where p + 1 digits are a tie that Python rounds down to the even one.
function toEven(x, p) {
  const exponent = x === 0 ? 0 : +x.toExponential().split("e")[1];
  if (exponent <= p) return p - exponent <= 20 ? +fixed(x, p - exponent) : x;
  const unit = 10 ** (exponent - p);
  return (x % unit) * 2 === unit && Math.floor(x / unit) % 2 === 0 ? x - unit / 2 : x;
}

function scientific(x, p, trim) {
  let [mantissa, exponent] = toEven(x, p).toExponential(p).split("e");
  if (trim && mantissa.includes(".")) mantissa = mantissa.replace(/\.?0+$/, "");
  const size = String(Math.abs(+exponent)).padStart(2, "0");
  return `${mantissa}e${exponent[0] === "-" ? "-" : "+"}${size}`;
}

function general(x, digits) {
  const p = Math.max(digits, 1);
  const exponent = x === 0 ? 0 : +x.toExponential(p - 1).split("e")[1];
  if (exponent < -4 || exponent >= p) return scientific(x, p - 1, true);
  const text = fixed(x, p - 1 - exponent);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

function formatNumber(value, form) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : value > 0 ? "∞" : "−∞";
  const [, plus, precision, kind] = /^(\+?)(?:\.(\d+))?([dfge%]?)$/.exec(form || ".4g") || [];
  if (kind === undefined) throw new Error(`unknown number format ${form}`);
  const p = precision === undefined ? 6 : +precision;
  const x = Math.abs(value);
  let text;
  if (kind === "d") text = fixed(x, 0);
  else if (kind === "f") text = fixed(x, p);
  else if (kind === "%") text = `${fixed(x * 100, p)}%`;
  else if (kind === "e") text = scientific(x, p, false);
  else text = general(x, p);
  const below = value < 0 || Object.is(value, -0);
  const sign = below ? (/[1-9]/.test(text) ? "−" : "") : plus && kind !== "d" ? "+" : "";
  return sign + text.replace("-", "−");
}

const GREEK = {
  alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ε", varepsilon: "ε", zeta: "ζ", eta: "η",
  theta: "θ", kappa: "κ", lambda: "λ", mu: "μ", nu: "ν", xi: "ξ", pi: "π", rho: "ρ", sigma: "σ",
  tau: "τ", phi: "φ", varphi: "φ", chi: "χ", psi: "ψ", omega: "ω", Gamma: "Γ", Delta: "Δ",
  Theta: "Θ", Lambda: "Λ", Pi: "Π", Sigma: "Σ", Phi: "Φ", Psi: "Ψ", Omega: "Ω", nabla: "∇",
  partial: "∂", infty: "∞", cdot: "·", times: "×", le: "≤", leq: "≤", ge: "≥", geq: "≥", in: "∈",
  to: "→", sum: "∑", int: "∫", sqrt: "√", propto: "∝", approx: "≈", log: "log", exp: "exp",
  min: "min", max: "max", ell: "ℓ", star: "⋆", ast: "∗", mid: "|", pm: "±",
};
const ACCENT = { hat: "\u0302", bar: "\u0304", tilde: "\u0303", dot: "\u0307" };

// A LaTeX symbol as nodes: Greek, sub- and superscripts, accents; enough for a label, no more.
function symbolNodes(latex) {
  const tokens = latex.match(/\\[a-zA-Z]+|\\.|[{}_^]|\s+|[^\\{}_^\s]/g) || [];
  let k = 0;
  const group = () => {
    if (tokens[k] !== "{") return [one()];
    const nodes = [];
    for (k++; k < tokens.length && tokens[k] !== "}"; ) nodes.push(one());
    k++;
    return nodes;
  };
  const wrap = (tag, nodes) => {
    const node = document.createElement(tag);
    node.append(...nodes);
    return node;
  };
  const one = () => {
    const token = tokens[k++] || "";
    if (token === "_") return wrap("sub", group());
    if (token === "^") return wrap("sup", group());
    if (token === "{") return k--, wrap("span", group());
    const name = token.startsWith("\\") ? token.slice(1) : "";
    if (ACCENT[name]) return wrap("span", [...group(), ACCENT[name]]);
    if (["text", "mathrm", "operatorname", "mathbf", "mathcal"].includes(name)) {
      return wrap("span", group());
    }
    if (name) return document.createTextNode(GREEK[name] || (/^[a-z]/i.test(name) ? name : " "));
    return /[a-z]/i.test(token) ? wrap("i", [token]) : document.createTextNode(token);
  };
  const nodes = [];
  while (k < tokens.length) nodes.push(one());
  return nodes;
}

// Pieces of a text, every second of them a subscript: "L_TR" and "x_t", but no name_like_this.
const SUBSCRIPT = /(?<![\p{L}\p{M}\d_])(\p{L}\p{M}?)_(\p{L}{1,3}|\d)(?![\p{L}\d_])/gu;

function markedParts(text) {
  const parts = [""];
  let end = 0;
  for (const hit of text.matchAll(SUBSCRIPT)) {
    parts[parts.length - 1] += text.slice(end, hit.index) + hit[1];
    parts.push(hit[2], "");
    end = hit.index + hit[0].length;
  }
  parts[parts.length - 1] += text.slice(end);
  return parts;
}

// The same where only letters can stand, as in the entries of a list: "xₜ".
const LOWERED = Object.fromEntries([..."aehijklmnoprstuvx0123456789"].map((c, k) => [c, [..."ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ₀₁₂₃₄₅₆₇₈₉"][k]]));

function lowered(text) {
  const below = (part) => [...part].every((c) => c in LOWERED);
  return markedParts(text).map((part, k) => (k % 2 === 0 ? part : below(part) ? [...part].map((c) => LOWERED[c]).join("") : `_${part}`)).join("");
}

// Nodes of a text with its subscripts set as such.
function marked(text) {
  return markedParts(text).map((part, k) => {
    if (k % 2 === 0) return document.createTextNode(part);
    const node = document.createElement("sub");
    node.append(part);
    return node;
  });
}

function writeMarked(node, text) {
  if (node.source === text) return;
  node.source = text;
  node.replaceChildren(...marked(text));
}

// The same on a canvas: runs [text, font, how far it is lowered, x] and their width.
function markedRuns(g, text) {
  const font = g.font;
  const size = parseFloat(/([\d.]+)px/.exec(font)[1]);
  let x = 0;
  const runs = markedParts(text).map((part, k) => {
    g.font = k % 2 ? font.replace(/[\d.]+px/, `${size * 0.75}px`) : font;
    const run = [part, g.font, k % 2 ? size * 0.22 : 0, x];
    x += g.measureText(part).width;
    return run;
  });
  g.font = font;
  return { runs, width: x };
}

const markedWidth = (g, text) => markedRuns(g, text).width;

function fillMarked(g, text, x, y, draw = "fillText") {
  const [font, align] = [g.font, g.textAlign];
  const { runs, width } = markedRuns(g, text);
  const left = x - (align === "right" ? width : align === "center" ? width / 2 : 0);
  g.textAlign = "left";
  for (const [part, own, lower, at] of runs) {
    g.font = own;
    g[draw](part, left + at, y + lower);
  }
  [g.font, g.textAlign] = [font, align];
}
