"""The dotted keys of a config: set, flattened, checked against the defaults, and put in one form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from fusion_jax import zoo
from fusion_jax.study import ranges
from fusion_jax.study.layout import RENAMED

OPEN = ("options", "last", "extra", "part_rates")  # dictionaries whose keys the named mechanism or the model defines
DOTTED = ("extra", "part_rates")  # those of them whose keys may have dots: paths of files, parts of the model


def set_key(config: ConfigDict, key: str, value: Any) -> None:
    """Sets a dotted key that exists (or lies in an `options` dictionary) to a value of the same type.

    NumPy's numbers and arrays are taken as Python's; see `ranges` for what else is one number in another form.

    Raises:
        ValueError: no such key, naming the nearest; or a value of another type.
    """
    parents, leaf = _parted(key)
    value = ranges.python(value, key)
    node = config
    for depth, part in enumerate(parents):
        if not isinstance(node, ConfigDict) or part not in node:
            raise ValueError(unknown(key, flatten(config.to_dict())))
        node = node[part]
        if part in OPEN and depth == len(parents) - 1:
            if part in DOTTED:
                set_key(config, ".".join(parents), {**node.to_dict(), leaf: value})
                return
            with node.unlocked(), node.ignore_type():
                node[leaf] = value
            return
    if not isinstance(node, ConfigDict) or leaf not in node:
        raise ValueError(unknown(key, flatten(config.to_dict())))
    if leaf in OPEN:
        if not isinstance(value, Mapping):
            raise ValueError(f"config key {key!r} is {value!r}, expected a dictionary")
        # As a whole: what stood there belonged to another mechanism.
        node[leaf] = ConfigDict(value, allow_dotted_keys=leaf in DOTTED)
        return
    node[leaf] = ranges.alike(value, node[leaf], key)


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key of a plain config, which has it; the last part may be new in an `options` dictionary.

    Raises:
        ValueError: no such key, naming the nearest.
    """
    node, (parents, leaf) = tree, _parted(key)
    for part in parents:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict) or (leaf not in node and not set(OPEN) & set(parents[-1:])):
        raise ValueError(unknown(key, flatten(tree)))
    node[leaf] = value


def _parted(key: str) -> tuple[list[str], str]:
    """The parents of a dotted key and its last part, which is all that stands behind one of DOTTED."""
    parts = key.split(".")
    end = next((i + 1 for i, part in enumerate(parts[:-1]) if part in DOTTED), len(parts) - 1)
    return parts[:end], ".".join(parts[end:])


def unknown(key: str, known: Mapping[str, Any]) -> str:
    """What to say of a key that is none of {dotted key: value}: the nearest, or the new name of a renamed one."""
    renamed = {then: today for today, then in RENAMED.items()}
    near = f" (it is called {renamed[key]!r} now)" if key in renamed else zoo.nearest(key, list(known))
    return f"no config key {key!r}{near}"


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{dotted key: value} of nested dictionaries; an empty dictionary is a value."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def check_keys(plain: dict, base: Mapping, prefix: str = ""):
    """Raises ValueError where a key or a type is not as in defaults.py; puts numbers in the form they have there."""
    for key, value in plain.items():
        if key not in base:
            raise ValueError(unknown(prefix + key, flatten(base)))
        if isinstance(base[key], Mapping) and key not in OPEN:
            check_keys(ranges.alike(value, base[key], prefix + key), base[key], f"{prefix}{key}.")
        else:
            plain[key] = ranges.alike(value, base[key], prefix + key)
    for key in base:
        if key not in plain:
            raise ValueError(f"config key {prefix + key!r} is missing: start from study.defaults.get_config()")


def check_choice(value: Any, key: str, allowed: tuple[str, ...]) -> None:
    """Raises ValueError where the value of a key is none of those allowed; names the nearest."""
    if value not in allowed:
        raise ValueError(f"config key {key!r} is {value!r}{zoo.nearest(value, allowed)}; expected one of {allowed}")


def plain(tree: Any) -> Any:
    """Python's numbers, and tuples as lists, as they are after a round trip through JSON."""
    return json.loads(json.dumps(ranges.python(tree, "")))
