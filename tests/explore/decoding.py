"""The packed form of a scene read back in Python: what a browser gets, number for number."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np

from diffteach.explore.scene import Scene, Stack


def unpacked(packed: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a packed scene."""
    raw = zlib.decompress(packed)
    (length,) = struct.unpack_from("<I", raw)
    header = json.loads(raw[4 : 4 + length])
    start, arrays = 4 + length, {}
    for entry in header["stacks"]:
        arrays[entry["name"]] = decoded(entry, raw[start : start + entry["length"]])
        start += entry["length"]
    assert start == len(raw)
    return header, arrays


def decoded(entry: dict[str, Any], body: bytes) -> np.ndarray:
    if "lags" not in entry:
        return np.frombuffer(body, "<f4").reshape(entry["shape"]).astype(float)
    low_bytes, high_bytes = np.frombuffer(body, np.uint8).reshape(2, -1).astype(np.uint16)
    codes = low_bytes | (high_bytes << 8)
    for lag in reversed(entry["lags"]):
        for start in range(lag):
            codes[start::lag] = np.cumsum(codes[start::lag], dtype=np.uint16)
    low, high = np.array([entry["low"], entry["high"]])[..., None]
    slices = codes.reshape(len(low), -1)
    values = (low + slices * ((high - low) / entry["top"])).astype(np.float32).astype(float).ravel()
    for code, value in ((65533, np.inf), (65534, -np.inf), (65535, np.nan)):
        values[codes == code] = value
    return values.reshape(entry["shape"])


def as_shipped(scene: Scene, packed: bytes) -> Scene:
    """The scene with the arrays that its packed form carries."""
    _, arrays = unpacked(packed)
    shipped = {n: Stack(arrays[n], s.axes, s.bits) for n, s in scene.stacks.items()}
    return replace(scene, stacks=shipped)
