"""The values of a config: NumPy's numbers as Python's, one form for one number, and the ranges they lie in.

One number has one form, so that it gives one cell: an integer where the default is a float becomes a float, a float
that is whole where the default is an integer becomes an integer (`np.logspace` gives 16.0), -0.0 is 0.0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

# Keys and options by their last part, the name; an option with such a name means the same in every mechanism.
SHARES = (  # in [0, 1)
    "rate",
    "attention_rate",
    "hidden_rate",
    "edge_rate",
    "path_rate",
    "value_rate",
    "late_rate",
    "embed_rate",
    "head_rate",
    "global_rate",
    "transformer_rate",
    "input_rate",
    "pre_lin_rate",
    "output_rate",
    "drop_layer",
    "hide",
    "smoothing",
    "momentum",
    "b1",
    "b2",
)
COUNTS = ("heads", "kv_heads", "cross_heads", "decoder_heads")  # at least 1
WIDTHS = ("hidden", "width", "out_dim", "proj_hidden")  # at least 1 as well: of 0 features nothing can be initialised
NOT_NEGATIVE = ("weight_decay", "eps", "eps_root")

# Keys of defaults.py: the least value, which is included.
LEAST = {
    "seeds": 1,
    "training.epochs": 1,
    "training.chunk": 1,
    "training.patience": 1,
    "training.select_every": 1,
    "training.checkpoint_seconds": 0,
    "model.dim": 1,
    "model.layers": 0,
    "optimizer.clip": 0,
    "optimizer.warmup": 0,
    "loss.l2": 0,
    "size.parameters": 0,
    "training.snapshots": 0,
    "training.node_devices": 0,
    "training.batch": 0,
    "resources.cpus": 0,
    "resources.gpus": 0,
    "resources.memory_gb": 0,
    "resources.minutes": 0,
}
MOST = {"seeds": 10_000}  # and the greatest: a part of a cell is named by seeds of four digits


def python(value: Any, key: str) -> Any:
    """The value with Python's numbers and strings for NumPy's (and JAX's), in dictionaries, lists and tuples too.

    An array of no dimension is its number, any other one a list.

    Raises:
        ValueError: something that no config can hold; names the key.
    """
    if isinstance(value, Mapping | ConfigDict):
        return {str(k): python(v, f"{key}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        items = [python(v, key) for v in value]
        return tuple(items) if isinstance(value, tuple) else items
    if value is None or isinstance(value, bool | np.bool_):
        return value if value is None else bool(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) + 0.0  # -0.0 + 0.0 is 0.0
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return python(np.asarray(value).tolist(), key)
    raise ValueError(f"config key {key!r} is {value!r}, expected a number, a text, or a list or dictionary of them")


def alike(value: Any, default: Any, key: str) -> Any:
    """The value as the default's type has it.

    Raises:
        ValueError: it is of another type; names the key.
    """
    value = number_like(value, default)
    if isinstance(default, Mapping | ConfigDict) and not isinstance(value, Mapping | ConfigDict):
        own = ", ".join(f"{key}.{name}" for name in default)
        raise ValueError(f"config key {key!r} is {value!r}, expected a ConfigDict; set one of {own}")
    if isinstance(default, tuple) and isinstance(value, list):
        value = tuple(value)
    if type(value) is not type(default):
        raise ValueError(f"config key {key!r} is {value!r}, expected {_a(default)} such as {default!r}")
    return value


def _a(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def number_like(value: Any, default: Any) -> Any:
    """A number in the form that the default has; whatever is no such number as it is."""
    if isinstance(value, bool) or isinstance(default, bool):
        return value
    if isinstance(default, float) and isinstance(value, int):
        return float(value)
    if isinstance(default, int) and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def option(value: Any, default: Any, key: str) -> Any:
    """The value of a mechanism's option in the form of its default, checked.

    What a mechanism takes beside its default's type is its own affair; a text or a boolean for a number is not. An
    option whose default is a positive integer counts something, and is at least 0.

    Raises:
        ValueError: a value of another type, a number that is not finite or out of range; names the key.
    """
    value = number_like(value, default)
    other = isinstance(value, bool) is not isinstance(default, bool) and isinstance(value, int | float)
    if isinstance(default, int | float) and (other or isinstance(value, str)):
        raise ValueError(f"config key {key!r} is {value!r}, expected {_a(default)} such as {default!r}")
    finite(value, key)
    in_range(value, key)
    if type(default) is int and default > 0 and isinstance(value, int | float) and value < 0:
        raise ValueError(f"config key {key!r} is {value}, expected at least 0")
    return value


def whole(value: Any, or_none: bool, key: str) -> Any:
    """A whole number as an integer, or None where that is one of its values too.

    Raises:
        ValueError: anything else, or a number below 0; names the key.
    """
    value = number_like(value, 0)
    if value is None and or_none:
        return value
    if type(value) is not int:
        raise ValueError(f"config key {key!r} is {value!r}, expected a whole number{' or None' * or_none}")
    if or_none and value < 0:  # a width or a number of something, which the mechanism finds for itself
        raise ValueError(f"config key {key!r} is {value}, expected at least 0, or None")
    return value


def finite(value: Any, key: str) -> None:
    """Raises ValueError where a number, or one in a list or dictionary, is NaN or infinite; names the key."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            finite(inner, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for inner in value:
            finite(inner, key)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"config key {key!r} is {value}, expected a finite number")


def in_range(value: Any, key: str) -> None:
    """Raises ValueError where a number lies outside what the last part of its key allows; names the key."""
    name = key.rpartition(".")[2]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if name in SHARES and not 0 <= value < 1:
        raise ValueError(f"config key {key!r} is {value}, expected a number in [0, 1)")
    if name in COUNTS + WIDTHS and value < 1:
        raise ValueError(f"config key {key!r} is {value}, expected at least 1")
    if name in NOT_NEGATIVE and value < 0:
        raise ValueError(f"config key {key!r} is {value}, expected at least 0")


def check_ranges(flat: Mapping[str, Any]) -> None:
    """Raises ValueError where a key of {dotted key: value} is out of range; names it."""
    for key, value in flat.items():
        finite(value, key)
        if not {"options", "last", "part_rates", "extra"} & set(key.split(".")):  # names of their own
            in_range(value, key)
        if key in LEAST and value < LEAST[key]:
            raise ValueError(f"config key {key!r} is {value}, expected at least {LEAST[key]}")
        if key in MOST and value > MOST[key]:
            raise ValueError(f"config key {key!r} is {value}, expected at most {MOST[key]}")
    _check_fanout(flat["training.fanout"], flat["training.batch"], flat["model.layers"])
    rate = flat["optimizer.learning_rate"]
    if not rate > 0:
        raise ValueError(f"config key 'optimizer.learning_rate' is {rate}, expected a number > 0")
    for key in ("data.modalities", "data.views", "data.test_views", "per_seed", "loss.l2_parts"):
        if not all(isinstance(name, str) for name in flat[key]):
            raise ValueError(f"config key {key!r} is {flat[key]}, expected names")


def _check_fanout(fanout: Sequence, batch: int, layers: int) -> None:
    """Raises ValueError where it is for no batch, is no senders, or is for another number of graph layers."""
    if any(type(f) is not int or f < 1 for f in fanout):
        raise ValueError(f"config key 'training.fanout' is {fanout}, expected whole numbers of at least 1")
    if fanout and not batch:
        raise ValueError(f"config key 'training.fanout' is {fanout} and 'training.batch' 0, expected a batch it is for")
    if len(fanout) > 1 and len(fanout) != layers:
        raise ValueError(
            f"config key 'training.fanout' is {fanout}, expected one number a layer ('model.layers' is {layers}), "
            "or one for all"
        )


def steps(value: list, key: str) -> list[list]:
    """Pairs [epoch, factor] with whole epochs >= 0 and finite factors >= 0.

    Raises:
        ValueError: anything else; names the key.
    """
    pairs = []
    for pair in value:
        good = isinstance(pair, list) and len(pair) == 2 and all(type(v) in (int, float) for v in pair)
        if not good or not (0 <= pair[0] < math.inf and pair[0] == int(pair[0]) and 0 <= pair[1] < math.inf):
            raise ValueError(f"config key {key!r} holds {pair!r}, expected pairs (epoch, factor), each at least 0")
        pairs.append([int(pair[0]), float(pair[1])])
    return pairs


def weights(value: Mapping[str, Any], key: str, least: float = -math.inf) -> dict[str, float]:
    """{name: number} as floats, finite and at least `least`.

    Raises:
        ValueError: anything else; names the key.
    """
    for name, weight in value.items():
        if type(weight) not in (int, float) or not math.isfinite(weight) or weight < least:
            at_least = "" if least == -math.inf else f", at least {least:g}"
            raise ValueError(f"config key '{key}.{name}' is {weight!r}, expected a finite number{at_least}")
    return {name: float(weight) for name, weight in value.items()}
