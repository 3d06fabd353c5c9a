// Level lines by marching squares: chains of edge crossings, so that dashes run on across cells.

// A cell's code has a bit for each corner above the level: (i,j), (i,j+1), (i+1,j+1), (i+1,j).
// Its sides are 0 bottom, 1 right, 2 top, 3 left; segments join the sides that the level crosses.
const SEGMENTS = [
  [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], null, [[0, 2]], [[3, 2]],
  [[2, 3]], [[2, 0]], null, [[2, 1]], [[1, 3]], [[1, 0]], [[0, 3]], [],
];

function cellCode(f, p, cols, level) {
  const a = f[p];
  const b = f[p + 1];
  const c = f[p + cols + 1];
  const d = f[p + cols];
  if (a !== a || b !== b || c !== c || d !== d) return 0;
  return (a > level ? 1 : 0) | (b > level ? 2 : 0) | (c > level ? 4 : 0) | (d > level ? 8 : 0);
}

function segmentsOf(code, f, p, cols, level) {
  if (code !== 5 && code !== 10) return SEGMENTS[code];
  // A saddle: opposite corners belong together if the cell's centre is on their side.
  const high = f[p] + f[p + 1] + f[p + cols] + f[p + cols + 1] > 4 * level;
  return (code === 5) === high ? [[0, 1], [2, 3]] : [[3, 0], [1, 2]];
}

// Share of the way from a to b at which the level lies; half of it towards an infinite end.
function crossing(a, b, level) {
  const share = (level - a) / (b - a);
  return Number.isFinite(b - a) ? share : 0.5;
}

// Polylines [x0, y0, x1, y1, ...] in grid units (column, row) where a field passes the level.
function levelLines(field, level) {
  const [rows, cols] = field.s;
  const f = field.d;
  const n = rows * cols;
  // Edge e < n runs from node e to the right, edge n + e from node e upwards.
  const links = new Int32Array(4 * n).fill(-1);
  const found = [];
  const link = (e, other) => {
    if (links[2 * e] < 0) found.push(e);
    links[2 * e + (links[2 * e] < 0 ? 0 : 1)] = other;
  };
  for (let i = 0; i < rows - 1; i++) {
    for (let p = i * cols; p < (i + 1) * cols - 1; p++) {
      const code = cellCode(f, p, cols, level);
      if (code === 0 || code === 15) continue;
      const edge = [p, n + p + 1, p + cols, n + p];
      for (const [a, b] of segmentsOf(code, f, p, cols, level)) {
        link(edge[a], edge[b]);
        link(edge[b], edge[a]);
      }
    }
  }
  return chains(found, links, (e) => {
    const up = e >= n;
    const p = up ? e - n : e;
    const share = crossing(f[p], f[p + (up ? cols : 1)], level);
    return [(p % cols) + (up ? 0 : share), Math.floor(p / cols) + (up ? share : 0)];
  });
}

function chains(found, links, place) {
  const seen = new Uint8Array(links.length / 2);
  const unseen = (e) => e >= 0 && !seen[e];
  const walk = (start) => {
    const line = [];
    let here = start;
    for (let next = start; next >= 0; ) {
      here = next;
      seen[here] = 1;
      const [x, y] = place(here);
      line.push(x, y);
      const [a, b] = [links[2 * here], links[2 * here + 1]];
      next = unseen(a) ? a : unseen(b) ? b : -1;
    }
    const closes = here !== start && (links[2 * here] === start || links[2 * here + 1] === start);
    return closes && line.length > 4 ? [...line, line[0], line[1]] : line;
  };
  const ends = found.filter((e) => links[2 * e + 1] < 0);
  // Open lines are walked from an end; what is left are loops.
  const lines = [];
  for (const e of [...ends, ...found]) if (!seen[e]) lines.push(walk(e));
  return lines;
}

// Adds to a path everything above the level: whole runs of cells as boxes, cut cells as polygons.
function addAbove(path, field, level, X, Y) {
  const [rows, cols] = field.s;
  const f = field.d;
  for (let i = 0; i < rows - 1; i++) {
    let run = -1;
    for (let j = 0; j < cols; j++) {
      const p = i * cols + j;
      const code = j < cols - 1 ? cellCode(f, p, cols, level) : 0;
      if (code === 15) {
        if (run < 0) run = j;
        continue;
      }
      if (run >= 0) path.rect(X(run), Y(i), X(j) - X(run), Y(i + 1) - Y(i));
      run = -1;
      if (code > 0) addCell(path, [f[p], f[p + 1], f[p + cols + 1], f[p + cols]], level, i, j, X, Y);
    }
  }
}

function addCell(path, corners, level, i, j, X, Y) {
  const place = [[j, i], [j + 1, i], [j + 1, i + 1], [j, i + 1]];
  const ring = [];
  for (let k = 0; k < 4; k++) {
    const [a, b] = [corners[k], corners[(k + 1) % 4]];
    const [p, q] = [place[k], place[(k + 1) % 4]];
    if (a > level) ring.push(p);
    if (a > level !== b > level) {
      const share = crossing(a, b, level);
      ring.push([p[0] + share * (q[0] - p[0]), p[1] + share * (q[1] - p[1])]);
    }
  }
  ring.forEach(([x, y], k) => (k ? path.lineTo(X(x), Y(y)) : path.moveTo(X(x), Y(y))));
  path.closePath();
}
