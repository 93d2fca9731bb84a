"""A study's cells: full configs, checked, with all defaults filled in, and their identity.

A study file has `get_config(arg)` and `sweep(add)` or `sweep(add, arg)`; `sweep` calls
`add({dotted key: value, ...}, label="")` once a cell. `arg` is what stands after the colon of `--config=FILE:arg`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import inspect
import json
import os
import pathlib
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fusion_jax import folders, zoo
from fusion_jax.data import defaults
from fusion_jax.data.base import Dataset
from fusion_jax.study import ranges

SCHEMA = 2  # of what a cell's files and numbers mean; a new one makes every cell a new one

# How a row is told from the others; not part of what is computed.
_NOT_IDENTITY = ("label", "seeds")
_RUNTIME = ("checkpoint_seconds", "seed_axis", "chunk")
_OF_MODELS = ("model", "optimizer", "training", "scheme", "loss", "match_params")
VALIDATION_LABELS = " (+ validation labels)"  # marks the rows of controls that train on those too
_OPEN = ("options", "last", "extra", "factors")  # dictionaries whose keys the named mechanism or the model defines


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of a study without its seed.

    Attributes:
        config: plain nested dict, every default filled in.
        label: the row's name.
        seeds: how many trials are wanted.
    """

    config: dict[str, Any]
    label: str
    seeds: int

    def identity(self, data: Dataset | str) -> str:
        """16 hex digits of the sha256 over the canonical config, the data and the schema version.

        The data count by their fingerprint (`data.fingerprint` says what that is), and what the config leaves to the
        data set counts as it is used: the modalities in their order, the edge set, the setting, the edge sets of
        evaluation. Not counted: the number of seeds, the label, what only concerns running (chunks, checkpoints), and
        for a control what only models read. Splits of seeds other than 0 do not count, since seeds may be added
        later: each stored seed keeps the digest of its own (`Store.check_splits`).

        Args:
            data: the data set; or a text that stands for it, and then the config counts as it is written.
        """
        config = {k: v for k, v in self.config.items() if k not in _NOT_IDENTITY}
        if not isinstance(data, str):
            config["data"] = _as_used(config["data"], data)
            data = data.fingerprint
        config["training"] = {k: v for k, v in config["training"].items() if k not in _RUNTIME}
        if config["control"]["name"]:  # a control reads none of these
            config = {k: v for k, v in config.items() if k not in _OF_MODELS}
            config["vary"] = [what for what in config["vary"] if what != "dropout"]
        text = json.dumps([SCHEMA, data, config], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def split(path: str) -> tuple[str, str | None]:
    """The file and the argument of `FILE[:argument]`; colons may stand in both, and the file is the one that exists."""
    path = folders.expand(path)
    heads = [path] + [path[:i] for i in range(len(path) - 1, 0, -1) if path[i] == ":"]
    head = next((h for h in heads if pathlib.Path(h).is_file()), heads[min(1, len(heads) - 1)])
    return head, None if head == path else path[len(head) + 1 :]


def _as_used(part: Mapping[str, Any], data: Dataset) -> dict[str, Any]:
    """The `data` keys of a config with what they leave to the data set filled in."""
    return {
        **part,
        "modalities": list(part["modalities"]) or list(data.features),
        "graph": part["graph"] or data.default_graph,
        "test_views": list(part["test_views"]) or list(part["views"]),
        "setting": part["setting"] or data.setting,
    }


def load(path: str):
    """The module of a study file (a `.py` file, executed as any Python file is).

    Raises:
        FileNotFoundError: no such file; ValueError: it cannot be executed (says why and where), or lacks get_config.
    """
    file = pathlib.Path(folders.expand(path))
    if not file.is_file():
        near = zoo.nearest(str(file), [str(p) for p in pathlib.Path("configs").rglob("*.py")])
        raise FileNotFoundError(f"no study file {path!r}{near}")
    spec = importlib.util.spec_from_file_location(f"study_{file.stem}", file)
    if spec is None:
        raise ValueError(f"{path}: a study file is a Python file, with a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    with mistakes_in(file):
        spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ValueError(f"{path}: a study file defines get_config(arg='') (and sweep(add) for more than one cell)")
    return module


@contextlib.contextmanager
def mistakes_in(file: str | os.PathLike) -> Iterator[None]:
    """Runs code of a study file, which is the user's: whatever is wrong there is a mistake to be named.

    Raises:
        ValueError: for any exception but ValueError and OSError, which say themselves what is wrong; names file, line.
    """
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == os.fspath(file)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else "?"
        raise ValueError(f"{os.fspath(file)}, line {line}: {type(error).__name__}: {error}") from error


def published(module) -> list[dict[str, Any]]:
    """The rows of a study's tables that are not run: `PUBLISHED` and `KNOWN` of its file, checked; () if it has none.

    A row of PUBLISHED, what others report on the data, is a dict: label; source, what to cite; data, the name of the
    data set; values, {metric: (mean, standard deviation)} as printed, fractions and not percent, the deviation None
    where none is printed. A row of KNOWN, what follows from how the data were made, such as the accuracy of the best
    classifier there can be, is the same with {metric: value}; it comes back with (value, None), and marked as known.

    Raises:
        ValueError: a row with other fields, or a metric that no table has.
    """
    from fusion_jax.results.report import NAMES

    fields, rows = ("label", "source", "data", "values"), []
    for constant in ("PUBLISHED", "KNOWN"):
        for row in getattr(module, constant, ()):
            if sorted(row) != sorted(fields):
                raise ValueError(f"a row of {constant} has the fields {sorted(row)}, expected {sorted(fields)}")
            for metric, value in row["values"].items():
                if metric not in NAMES or np.shape(value) != ((2,) if constant == "PUBLISHED" else ()):
                    near = "" if metric in NAMES else zoo.nearest(metric, NAMES)
                    form = "(mean, sd)" if constant == "PUBLISHED" else "number"
                    raise ValueError(f"{constant}, {row['label']}: {metric}={value!r}{near}; expected metric: {form}")
            if constant == "KNOWN":
                row = {**row, "values": {m: (float(v), None) for m, v in row["values"].items()}, "protocol": "known"}
            rows.append(dict(row))
    return rows


def expand(config: ConfigDict, sweep=None, arg: str = "") -> list[Cell]:
    """The cells of a study: one a call of `add`, or the config itself without a sweep; equal cells once.

    Raises:
        ValueError: an unknown key (names the nearest), a value of another type, an unknown mechanism or option.
    """
    if sweep is None:
        return [resolve(config)]
    cells: list[Cell] = []

    def add(overrides: Mapping[str, Any] | None = None, *, label: str = ""):
        cell_config = config.copy_and_resolve_references()
        cell_config.lock()
        for key, value in (overrides or {}).items():
            set_key(cell_config, key, value)
        if label:
            cell_config.label = label
        cells.append(resolve(cell_config))

    sweep(add, arg) if len(inspect.signature(sweep).parameters) > 1 else sweep(add)
    unique: dict[str, Cell] = {}
    for cell in cells:
        unique.setdefault(cell.identity(""), cell)
    return tell_apart(list(unique.values()))


def tell_apart(cells: list[Cell]) -> list[Cell]:
    """The cells, those that share a row's name told apart by the keys in which they differ."""

    def place(cell: Cell):
        control, model = bool(cell.config["control"]["name"]), cell.config["model"]
        no_graph = model["layers"] == 0 or model["layer"]["name"] == "none"  # tables say so beside the placement
        placement = "-" if control else (model["placement"], no_graph)
        data = [cell.config["data"][k] for k in ("name", "options", "setting")]
        return cell.label, placement, cell.config["protocol"], json.dumps(data, sort_keys=True)

    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(place(cell), []).append(cell)
    named = {}
    for group in groups.values():
        flat = [flatten(c.config) for c in group]
        differing = {k for f in flat for k in f if any(f.get(k) != g.get(k) for g in flat)}
        keys = sorted(differing - set(_NOT_IDENTITY))
        for cell, own in zip(group, flat, strict=True):
            extra = ", ".join(f"{k}={own[k]}" for k in keys if k in own)
            named[id(cell)] = dataclasses.replace(cell, label=f"{cell.label}, {extra}" if extra else cell.label)
    return [named[id(c)] for c in cells]


def set_key(config: ConfigDict, key: str, value: Any) -> None:
    """Sets a dotted key that exists (or lies in an `options` dictionary) to a value of the same type.

    NumPy's numbers and arrays are taken as Python's; see `ranges` for what else is one number in another form.

    Raises:
        ValueError: no such key, naming the nearest; or a value of another type.
    """
    *parents, leaf = key.split(".")
    value = ranges.python(value, key)
    node = config
    for depth, part in enumerate(parents):
        if not isinstance(node, ConfigDict) or part not in node:
            raise ValueError(_unknown(config, key))
        node = node[part]
        if part in _OPEN and depth == len(parents) - 1:
            with node.unlocked(), node.ignore_type():
                node[leaf] = value
            return
    if not isinstance(node, ConfigDict) or leaf not in node:
        raise ValueError(_unknown(config, key))
    if leaf in _OPEN:
        if not isinstance(value, Mapping):
            raise ValueError(f"config key {key!r} is {value!r}, expected a dictionary")
        node[leaf] = ConfigDict(value)  # as a whole: what stood there belonged to another mechanism
        return
    node[leaf] = ranges.alike(value, node[leaf], key)


def _unknown(config: ConfigDict, key: str) -> str:
    return f"no config key {key!r}{zoo.nearest(key, list(flatten(config.to_dict())))}"


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{dotted key: value} of nested dictionaries; an empty dictionary is a value."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def resolve(config: ConfigDict) -> Cell:
    """Checks a full config against the zoo and fills in every option's default.

    Raises:
        ValueError: keys that defaults.py does not have, unknown names, options or values.
    """
    from fusion_jax.model import ACTIVATIONS, HEADS, MISSING, PRESENCE, check_no_head
    from fusion_jax.study.defaults import get_config

    plain, base = _plain(config.to_dict()), _plain(get_config().to_dict())
    _check_keys(plain, base)
    ranges.check_ranges(flatten(plain))
    kinds = {
        "model.encoder": "encoder",
        "model.fusion": "fusion",
        "model.layer": "layer",
        "model.readout": "readout",
        "control": "control",
        "scheme": "scheme",
        "loss": "loss",
    }
    for path, kind in kinds.items():
        spec = plain
        for part in path.split("."):
            spec = spec[part]
        if spec["name"]:
            zoo.check_options(kind, spec["name"], spec["options"])
            known = _plain(zoo.options(kind, spec["name"]))
            spec["options"] = known | _options(spec["options"], known, f"{path}.options")
            if kind in ("control", "scheme"):  # they say for themselves what their options may be
                zoo.make(kind, spec["name"], options=spec["options"])
        elif spec["options"] and kind != "loss":  # a loss without a name is the task's own, and has options
            raise ValueError(f"config key '{path}.options' is {spec['options']!r} but '{path}.name' is empty")
    layer = plain["model"]["layer"]
    zoo.check_options("layer", layer["name"], layer["last"])
    layer["last"] = _options(layer["last"], _plain(zoo.options("layer", layer["name"])), "model.layer.last")
    if plain["match_params"]:
        zoo.get("fusion", plain["match_params"])
    for name in plain["loss"]["extra"]:
        zoo.get("loss", name)
    _check_choice(plain, "protocol", ("honest", "paper"))
    _check_choice(plain["model"], "missing", MISSING, "model.")
    _check_choice(plain["model"], "presence", PRESENCE, "model.")
    _check_choice(plain["model"], "head", HEADS, "model.")
    _check_choice(plain["model"], "activation", tuple(ACTIVATIONS), "model.")
    _check_choice(plain["data"], "scale", ("column", "view", "row", "none"), "data.")
    _check_choice(plain["data"], "setting", ("", "transductive", "inductive"), "data.")
    _check_choice(plain["training"], "select", ("accuracy", "loss", "last"), "training.")
    _check_choice(plain["training"], "seed_axis", ("auto", "vmap", "map"), "training.")
    plain["vary"] = sorted(set(plain["vary"]))
    for value in plain["vary"]:
        _check_choice({"vary": value}, "vary", ("init", "dropout", "split"))
    part, optimizer = plain["data"], plain["optimizer"]
    part["options"] = _options(part["options"], defaults(part["name"]), "data.options")
    optimizer["steps"] = ranges.steps(optimizer["steps"], "optimizer.steps")
    optimizer["factors"] = ranges.weights(optimizer["factors"], "optimizer.factors", 0)
    plain["loss"]["extra"] = ranges.weights(plain["loss"]["extra"], "loss.extra")
    if not plain["control"]["name"]:
        from fusion_jax.model import check_placement
        from fusion_jax.training import optimizers

        model = plain["model"]
        check_placement(model["fusion"]["name"], model["placement"])
        if model["head"] == "none":
            check_no_head(model["placement"], model["layers"], model["readout"]["name"] or "last")
        known = optimizers.defaults(optimizer["name"])
        optimizer["options"] = _options(optimizer["options"], known, "optimizer.options")
        optimizers.make(**optimizer, epochs=plain["training"]["epochs"])
    return Cell(plain, plain["label"] or default_label(plain), plain["seeds"])


def _plain(tree: Any) -> Any:
    """Python's numbers, and tuples as lists, as they are after a round trip through JSON."""
    return json.loads(json.dumps(ranges.python(tree, "")))


def _options(given: Mapping[str, Any], known: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The options in the form of the defaults that are known, checked."""
    return {k: ranges.option(v, known.get(k), f"{path}.{k}") for k, v in given.items()}


def _check_choice(tree: Mapping, key: str, allowed: tuple, prefix: str = ""):
    if tree[key] not in allowed:
        near = zoo.nearest(tree[key], allowed)
        raise ValueError(f"config key {prefix + key!r} is {tree[key]!r}{near}; expected one of {allowed}")


def _check_keys(plain: dict, base: Mapping, prefix: str = ""):
    """Raises ValueError where a key or a type is not as in defaults.py; puts numbers in the form they have there."""
    for key, value in plain.items():
        if key not in base:
            raise ValueError(f"no config key {prefix + key!r}{zoo.nearest(prefix + key, list(flatten(base)))}")
        if isinstance(base[key], Mapping) and key not in _OPEN:
            _check_keys(ranges.alike(value, base[key], prefix + key), base[key], f"{prefix}{key}.")
        else:
            plain[key] = ranges.alike(value, base[key], prefix + key)
    for key in base:
        if key not in plain:
            raise ValueError(f"config key {prefix + key!r} is missing: start from study.defaults.get_config()")


def default_label(config: Mapping[str, Any]) -> str:
    """The mechanism's name and the options that differ from its defaults."""
    if config["control"]["name"]:
        kind, spec = "control", config["control"]
    else:
        kind, spec = "fusion", config["model"]["fusion"]
    defaults = _plain(zoo.options(kind, spec["name"]))
    changed = [f"{k}={v}" for k, v in spec["options"].items() if v != defaults.get(k) and k != "validation_labels"]
    label = spec["name"] + (f"({', '.join(changed)})" if changed else "")
    if kind == "control" and spec["options"].get("validation_labels"):
        label += VALIDATION_LABELS
    subset = config["data"]["modalities"]
    return f"{label} [{'+'.join(subset)}]" if subset else label
