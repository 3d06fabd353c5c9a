"""Checkpoints: everything with a state that an agent and its source of batches hold, in one file.

A file also holds the agent's settings and act_limit, and only an agent of the same can take it.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FORMAT = 1


@runtime_checkable
class Stateful(Protocol):
    """Anything a checkpoint can hold: networks, optimizers, streams, sources."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


Parts = dict[str, Stateful | torch.Generator]


def _is_own(value: object) -> bool:
    # Settings are dataclasses: they have no state, and `_config` writes them down.
    ours = type(value).__module__.startswith("diffteach.") and hasattr(value, "__dict__")
    return ours and not dataclasses.is_dataclass(value)


def _inside(owner: object, path: str = "") -> Parts:
    """Everything with a state among an object's attributes, and among those of its own parts."""
    found: Parts = {}
    for name, value in vars(owner).items():
        if isinstance(value, Stateful | torch.Generator):
            found[path + name] = value
        elif _is_own(value):
            found |= _inside(value, f"{path}{name}.")
    return found


def _parts(agent: object, source: object) -> Parts:
    """Everything with a state: the agent's by attribute, and the source of its batches."""
    inside = _inside(agent)
    return {**inside, "source": source} if isinstance(source, Stateful) else inside


def _state(part: Stateful | torch.Generator) -> Any:
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


def _set_state(part: Stateful | torch.Generator, state: Any) -> None:
    if not isinstance(part, torch.Generator):
        part.load_state_dict(state)
    elif len(state) == len(part.get_state()):
        part.set_state(state)
    else:
        # A state of another kind of device, as its size tells, says nothing here but can seed.
        digest = hashlib.blake2b(bytes(state.tolist()), digest_size=4).digest()
        part.manual_seed(int.from_bytes(digest, "little"))


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """JSON for a nested state; its tensors go into a flat table under their paths."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise FloatingPointError(f"{path} holds NaN or infinite values, so nothing was saved")
        # safetensors refuses tensors that share memory.
        tensors[path] = value.detach().cpu().clone().contiguous()
        return {"tensor": path}
    if isinstance(value, Mapping):
        return {"items": [[k, _pack(v, f"{path}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_pack(v, f"{path}/{k}", tensors) for k, v in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold {path} of type {type(value).__name__}")


def _unpack(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "tensor" in tree:
        return tensors[tree["tensor"]]
    if "list" in tree:
        return [_unpack(v, tensors) for v in tree["list"]]
    return {k: _unpack(v, tensors) for k, v in tree["items"]}


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _settings(value: Any, path: str) -> Any:
    """JSON for settings: what they say, and neither addresses nor a version's way to print them.

    Functions and classes go by their names, so two lambdas of one scope count as the same.
    """
    if isinstance(value, Tensor):
        return {"dtype": str(value.dtype), "values": value.tolist()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return {"class": _name(type(value)), **_settings(named, path)}
    if isinstance(value, functools.partial):
        called = {"function": value.func, "args": value.args, "keywords": value.keywords}
        return _settings(called, path)
    if isinstance(value, Mapping):
        return {str(k): _settings(v, f"{path}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_settings(v, f"{path}[{k}]") for k, v in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value):
        return _name(value if hasattr(value, "__qualname__") else type(value))
    raise TypeError(f"a checkpoint cannot hold {path} of type {type(value).__name__}")


def difference(there: Any, here: Any, path: str) -> str | None:
    """Where two trees of JSON first differ, and both values; None if they are equal."""
    if isinstance(there, dict) and isinstance(here, dict):
        inside = [(f"{path}.{k}", there.get(k), here.get(k)) for k in {**here, **there}]
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        inside = [(f"{path}[{k}]", a, b) for k, (a, b) in enumerate(zip(there, here, strict=True))]
    elif there == here:
        return None
    else:
        return f"{path} = {there!r:.200}, needed is {here!r:.200}"
    return next(filter(None, (difference(a, b, name) for name, a, b in inside)), None)


def _config(agent: object) -> Any:
    return _settings(getattr(agent, "config", None), "config")


def _act_limit(agent: object) -> Any:
    # Weights fit any box, but the actions that they say do not.
    return _settings(getattr(agent, "act_limit", None), "act_limit")


def save(
    path: str | Path,
    agent: object,
    source: object = None,
    done: Mapping[str, int] | None = None,
) -> None:
    """Writes a checkpoint of all that `train.fit` changes; the file appears complete or not at all.

    FloatingPointError, and an untouched old file, if a weight is NaN or infinite.
    """
    tensors: dict[str, Tensor] = {}
    parts = _parts(agent, source)
    tree = {name: _pack(_state(part), name, tensors) for name, part in parts.items()}
    about = {
        "format": FORMAT,
        "method": type(agent).__name__,
        "config": _config(agent),
        "act_limit": _act_limit(agent),
        "done": dict(done or {}),
        "tree": tree,
    }
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, draft, {"diffteach": json.dumps(about)})
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def load(path: str | Path, agent: object, source: object = None) -> dict[str, int]:
    """Restores what `save` stored and returns the finished steps of each stage, for `fit`.

    Files go between CPU and CUDA, where the same seeds give other numbers: a run goes on as itself,
    to the bit, only on the kind of device that it was saved on. A generator of another kind is
    seeded from the state of the stored one.

    ValueError, and an unchanged agent, for a file that is no checkpoint, or one of another method,
    format, size, `config` or `act_limit`, naming the first setting that differs.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["diffteach"])
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a complete checkpoint of diffteach ({error})") from None
    wanted, parts = (FORMAT, type(agent).__name__), _parts(agent, source)
    if (about["format"], about["method"]) != wanted:
        raise ValueError(
            f"{path} holds {about['method']} in format {about['format']}, "
            f"needed is {wanted[1]} in format {wanted[0]}"
        )
    for name, here in (("config", _config(agent)), ("act_limit", _act_limit(agent))):
        if different := difference(about.get(name), here, name):
            raise ValueError(f"{path} was made with {different}")
    if missing := sorted(set(parts) - set(about["tree"])):
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    before = {name: copy.deepcopy(_state(part)) for name, part in parts.items()}
    for name, part in parts.items():
        try:
            _set_state(part, _unpack(about["tree"][name], tensors))
        except (RuntimeError, ValueError, KeyError) as error:
            # torch loads what fits before it complains.
            for other in parts:
                _set_state(parts[other], before[other])
            reason = str(error).splitlines()[-1].strip()
            raise ValueError(f"{name} in {path} does not fit this agent: {reason}") from None
    return about["done"]
