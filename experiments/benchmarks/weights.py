"""Our parameters under the names and in the layout of the PyTorch modules in `peers`, and how equal two outputs are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

TOLERANCE = 1e-4
RENAMED = (
    (r"^encoders\.(\d+)\.linear\.", r"encoders.\1."),
    (r"^fusions\.0\.(mlp\.)?", "fusion."),
    (r"\blinear\.kernel$", "lin.kernel"),  # the graph layers
    (r"\blinear\.bias$", "bias"),
    (r"\batt_sender$", "att_src"),
    (r"\batt_receiver$", "att_dst"),
)


def flat(tree: Any, before: str = "") -> dict[str, np.ndarray]:
    """{dotted name: array} of nested dictionaries."""
    if not isinstance(tree, Mapping):
        return {before: np.asarray(tree)}
    found = {}
    for key, value in tree.items():
        found |= flat(value, f"{before}.{key}" if before else str(key))
    return found


def to_torch(params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Our {dotted name: array} as a state of the peers' modules: kernels [in, out] are weights [out, in] there."""
    found = {}
    for name, value in params.items():
        for pattern, new in RENAMED:
            name = re.sub(pattern, new, name)
        if name.endswith("kernel"):
            name, value = f"{name[: -len('kernel')]}weight", value.T
        elif name.endswith(("att_src", "att_dst")):
            value = value[None]
        found[name] = np.ascontiguousarray(value)
    return found


def load(module: Any, params: Mapping[str, np.ndarray]) -> None:
    """Puts our parameters into a PyTorch module.

    Raises:
        ValueError: one has a parameter that the other lacks, or of another shape; names them.
    """
    import torch

    given, own = to_torch(params), {k: tuple(v.shape) for k, v in module.named_parameters()}
    wrong = sorted(k for k in given.keys() | own.keys() if k not in given or own.get(k) != given[k].shape)
    if wrong:
        shapes = ", ".join(f"{k} {given[k].shape if k in given else None} here, {own.get(k)} there" for k in wrong)
        raise ValueError(f"parameters that do not fit: {shapes}")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.from_numpy(given[name]))


def apart(own: np.ndarray, other: np.ndarray) -> float:
    """The largest |own - other| / (1 + |own|).

    Raises:
        ValueError: it is beyond `TOLERANCE`, or the shapes differ.
    """
    if own.shape != other.shape:
        raise ValueError(f"outputs have the shapes {own.shape} and {other.shape}")
    found = float(np.max(np.abs(own - other) / (1 + np.abs(own)), initial=0))
    if not found <= TOLERANCE:
        raise ValueError(f"outputs of the same weights are {found:.2g} apart, more than {TOLERANCE:.0e}: no times")
    return found
