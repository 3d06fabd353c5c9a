// Colours of the present theme. COLORS comes from colors.py.

function isDark(root) {
  const body = document.body;
  const jupyter = body.dataset.jpThemeLight;
  if (jupyter !== undefined) return jupyter === "false";
  if (/vscode-(dark|high-contrast)(?!-light)/.test(body.className)) return true;
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

const channels = (color) => [1, 3, 5].map((k) => parseInt(color.slice(k, k + 2), 16));

function veil(color, alpha) {
  return `rgba(${channels(color).join(",")},${alpha})`;
}

// 256 colours as the 32-bit numbers that ImageData holds (alpha, blue, green, red).
function lookupTable(anchors) {
  const table = new Uint32Array(256);
  const stops = anchors.map(channels);
  for (let k = 0; k < 256; k++) {
    const where = (k / 255) * (stops.length - 1);
    const left = Math.min(Math.floor(where), stops.length - 2);
    const mix = (c) => Math.round(stops[left][c] + (where - left) * (stops[left + 1][c] - stops[left][c]));
    table[k] = (255 << 24) | (mix(2) << 16) | (mix(1) << 8) | mix(0);
  }
  return table;
}

const cssColor = (n) => `rgb(${n & 255},${(n >> 8) & 255},${(n >> 16) & 255})`;

class Theme {
  constructor(dark, font) {
    this.dark = dark;
    this.colors = COLORS[dark ? "dark" : "light"];
    this.ramps = COLORS.ramps[dark ? "dark" : "light"];
    this.font = font;
    this.tables = {};
  }

  color(name) {
    return this.colors[name] || this.colors.ink;
  }

  table(name) {
    const key = name in this.ramps ? name : "sequential";
    return (this.tables[key] ||= lookupTable(this.ramps[key]));
  }
}
