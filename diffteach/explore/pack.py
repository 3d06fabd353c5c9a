"""A scene as bytes for a browser: deflated [header length | JSON header | array bodies]."""

from __future__ import annotations

import json
import math
import struct
import zlib
from dataclasses import asdict
from typing import Any

import numpy as np

from diffteach.explore import expression
from diffteach.explore.scene import WAITING, Scene, Stack

QUANTISED = 2048  # arrays with more numbers are shipped as integers
NAN, MINUS, PLUS = 65535, 65534, 65533  # codes of NaN, -inf and +inf


def pack(scene: Scene, effort: int = 6) -> bytes:
    """Everything a browser needs of a scene, its formulas as trees; lesson functions stay out.

    `effort` is zlib's level: 9 is a tenth smaller than 6 and takes ten times as long.
    """
    entries, bodies = [], []
    for name, stack in scene.stacks.items():
        entry, body = _coded(stack)
        entries.append({"name": name, "length": len(body), **entry})
        bodies.append(body)
    text = json.dumps(header(scene) | {"stacks": entries}, allow_nan=False, separators=(",", ":"))
    head = text.encode()
    return zlib.compress(b"".join([struct.pack("<I", len(head)), head, *bodies]), effort)


def header(scene: Scene) -> dict[str, Any]:
    """The scene without its arrays as JSON-able data: formulas parsed, words cut into pieces."""
    tree = expression.parse
    prediction = None
    if scene.prediction is not None:
        prediction = asdict(scene.prediction) | {"answer": tree(scene.prediction.answer)}
    return {
        "name": scene.name,
        "title": scene.title,
        "bounds": [float(b) for b in scene.bounds],
        "params": [asdict(p) | {"when": tree(p.when)} for p in scene.params],
        "panels": [asdict(p) | {"when": tree(p.when)} for p in scene.panels],
        "layers": [
            {
                "kind": entry.kind,
                "data": {key: tree(text) for key, text in entry.data.items()},
                "style": dict(entry.style),
                "panel": entry.panel,
                "when": tree(entry.when),
                "legend": entry.legend,
            }
            for entry in scene.layers
        ],
        "let": {name: tree(text) for name, text in scene.let.items()},
        "words": [[tree(when), expression.template(text)] for when, text in scene.said.items()],
        "readouts": [
            asdict(r) | {"when": tree(r.when), "formula": tree(r.formula)} for r in scene.readouts
        ],
        "prediction": prediction,
        "waiting": WAITING,
        "note": scene.note,
    }


def _coded(stack: Stack) -> tuple[dict[str, Any], bytes]:
    data = np.asarray(stack.data)
    entry: dict[str, Any] = {
        "shape": list(data.shape),
        "axes": [[name, [float(k) for k in knots]] for name, knots in stack.axes.items()],
    }
    if data.size <= QUANTISED:
        return entry, data.astype("<f4").tobytes()
    # One code table per slice, because slices of one stack may differ in range a thousandfold.
    slices = data.reshape(math.prod(data.shape[: len(stack.axes)]), -1)
    codes, lows, highs, tops = zip(*(quantise(s, stack.bits) for s in slices), strict=True)
    lags = _lags(data.shape)
    flat = np.concatenate(codes)
    for lag in lags:
        flat = np.concatenate([flat[:lag], flat[lag:] - flat[:-lag]])  # wraps around at 2^16
    # Low bytes are noise and high bytes nearly constant: apart they deflate well.
    planes = flat.astype("<u2").view(np.uint8).reshape(-1, 2).T
    return entry | {"low": lows, "high": highs, "top": tops[0], "lags": lags}, planes.tobytes()


def _lags(shape: tuple[int, ...]) -> list[int]:
    """Distances to the neighbours that predict a number; running sums undo each."""
    if shape[-1] <= 4:
        return [shape[-1]]
    return [1, shape[-1]] if len(shape) > 1 else [1]


def quantise(data: np.ndarray, bits: int) -> tuple[np.ndarray, float, float, int]:
    """Codes 0..top (uint16) of finite numbers in [low, high]; NaN and infinities have their own.

    ValueError unless 1 <= bits <= 16.
    """
    if not 1 <= bits <= 16:
        raise ValueError(f"bits must lie in 1..16, got {bits}")
    values = data.astype(np.float64)
    finite = np.isfinite(values)
    low, high = (
        (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
    )
    top = min(2**bits - 1, PLUS - 1)
    span = high - low
    codes = np.zeros(values.shape, np.uint16)
    if span > 0:
        codes[finite] = np.round((values[finite] - low) / span * top).astype(np.uint16)
    codes[np.isnan(values)] = NAN
    codes[values == -np.inf] = MINUS
    codes[values == np.inf] = PLUS
    return codes, low, high, top
