// Bilinear reading (N, 2) of a vector field (2, H, W) at points, as parts.vectors_at has it.
function vectorsAt(field, points, bounds) {
  const [, rows, cols] = field.s;
  const [x0, x1, y0, y1] = bounds.d;
  const out = new Float64Array(points.d.length);
  for (let k = 0; k < points.d.length; k += 2) {
    let u = Math.min(Math.max((points.d[k] - x0) / (x1 - x0), 0), 1) * (cols - 1);
    let v = Math.min(Math.max((points.d[k + 1] - y0) / (y1 - y0), 0), 1) * (rows - 1);
    const j = Math.min(Math.floor(u), cols - 2);
    const i = Math.min(Math.floor(v), rows - 2);
    u -= j;
    v -= i;
    for (let a = 0; a < 2; a++) {
      const o = (a * rows + i) * cols + j;
      const { d } = field;
      out[k + a] =
        (d[o] * (1 - u) + d[o + 1] * u) * (1 - v) + (d[o + cols] * (1 - u) + d[o + cols + 1] * u) * v;
    }
  }
  return { d: out, s: points.s };
}

// One point (2,) as a list (1, 2) of points.
function listed(point) {
  return { d: point.d, s: [1, 2] };
}
