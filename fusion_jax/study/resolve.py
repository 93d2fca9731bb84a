"""Checks a config and fills in every default: the one room in which a config is read.

What leaves here is a `Cell`: its plain config, which is what is stored, and typed records of it (`fusion_jax.plan`),
which are what the rooms below are told.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict

from fusion_jax import folders, model, zoo
from fusion_jax.data import defaults as loader_defaults
from fusion_jax.data import places
from fusion_jax.study import layout, ranges
from fusion_jax.study.cell import Cell
from fusion_jax.study.defaults import get_config
from fusion_jax.study.identity import SECTIONS
from fusion_jax.study.keys import check_choice, check_keys, flatten, plain
from fusion_jax.training import optimizers

VALIDATION_LABELS = " (+ validation labels)"  # marks the rows of controls that train on those too
CHOICES = {
    "protocol": ("honest", "paper"),
    "model.missing": model.MISSING,
    "model.presence": model.PRESENCE,
    "model.head": model.HEADS,
    "model.activation": tuple(model.ACTIVATIONS),
    "model.mixer.layers": model.LAYERS,
    "model.mixer.part": model.PARTS,
    "data.scale": ("column", "modality", "row", "none"),
    "data.setting": ("", "transductive", "inductive"),
    "training.select": ("score", "loss", "last"),
    "training.seed_axis": ("auto", "vmap", "map"),
}
PER_SEED = ("init", "dropout", "split")


def resolve(config: ConfigDict | Mapping[str, Any]) -> Cell:
    """The cell of a full config, every option's default filled in.

    Paths of files outside, which are relative to the current folder, become absolute: what is stored is found from any.

    Raises:
        ValueError: keys that defaults.py does not have, unknown names, options or values.
    """
    given = config.to_dict() if isinstance(config, ConfigDict) else config
    full, base = plain(given), plain(get_config().to_dict())
    check_keys(full, base)
    _find_files(full)
    _rename_values(full)
    flat = flatten(full)
    ranges.check_ranges(flat)
    for key, allowed in CHOICES.items():
        check_choice(flat[key], key, allowed)
    for value in full["per_seed"]:
        check_choice(value, "per_seed", PER_SEED)
    full["per_seed"] = sorted(set(full["per_seed"]))
    _fill_in_options(full)
    _check_sizes(full)
    part, optimizer, loss = full["data"], full["optimizer"], full["loss"]
    part["options"] = _options(part["options"], loader_defaults(part["name"]), "data.options")
    optimizer["rate_steps"] = ranges.steps(optimizer["rate_steps"], "optimizer.rate_steps")
    optimizer["part_rates"] = ranges.weights(optimizer["part_rates"], "optimizer.part_rates", 0)
    loss["extra"] = ranges.weights(loss["extra"], "loss.extra")
    for name in loss["extra"]:
        zoo.get("loss", name)
    if not full["control"]["name"]:
        _check_model(full)
    return Cell(full, full["label"] or default_label(full), full["seeds"])


def _find_files(full: dict[str, Any]) -> None:
    """Puts absolute paths in the place of those of data sets and mechanisms."""
    loss, size = full["loss"], full["size"]
    for section in (full["data"], *(_section(full, path) for path in SECTIONS)):
        section["name"] = zoo.absolute(section["name"])
    for option in places(full["data"]["name"]):
        if isinstance(path := full["data"]["options"].get(option), str) and path:
            full["data"]["options"][option] = os.path.abspath(folders.expand(path))
    size["like"] = zoo.absolute(size["like"])
    loss["extra"] = {zoo.absolute(name): weight for name, weight in loss["extra"].items()}
    if isinstance(names := loss["options"].get("losses"), list):
        loss["options"]["losses"] = [zoo.absolute(name) if isinstance(name, str) else name for name in names]


def _section(full: dict[str, Any], path: str) -> dict[str, Any]:
    for part in path.split("."):
        full = full[part]
    return full


def _rename_values(full: dict[str, Any]) -> None:
    """Values that have another name since are taken for what they are called now, with a warning."""
    for key, names in layout.VALUES.items():
        section, _, leaf = key.partition(".")
        for today, then in names.items():
            if full[section][leaf] == then:
                warnings.warn(f"config key {key!r}: the value {then!r} is called {today!r} now", stacklevel=3)
                full[section][leaf] = today


def _fill_in_options(full: dict[str, Any]) -> None:
    """Checks every named mechanism and its options, and fills in the defaults of those that are not given."""
    for path, kind in SECTIONS.items():
        section = _section(full, path)
        if section["name"]:
            zoo.check_options(kind, section["name"], section["options"])
            known = plain(zoo.options(kind, section["name"]))
            given = _options(section["options"], known, f"{path}.options", zoo.whole(kind, section["name"]))
            section["options"] = known | given
            if kind in ("control", "scheme"):  # they say for themselves what their options may be
                zoo.make(kind, section["name"], options=section["options"])
        elif section["options"] and kind != "loss":  # a loss without a name is the task's own, and has options
            raise ValueError(f"config key '{path}.options' is {section['options']!r} but '{path}.name' is empty")
    layer = full["model"]["layer"]
    zoo.check_options("layer", layer["name"], layer["last"])
    known, whole = plain(zoo.options("layer", layer["name"])), zoo.whole("layer", layer["name"])
    layer["last"] = _options(layer["last"], known, "model.layer.last", whole)


def _check_sizes(full: Mapping[str, Any]) -> None:
    size = full["size"]
    if size["like"]:
        zoo.get("fusion", size["like"])
        if size["parameters"]:
            raise ValueError(
                f"config keys 'size.like' and 'size.parameters' are {size['like']!r} and {size['parameters']}; "
                "expected one of them at most"
            )


def _check_model(full: dict[str, Any]) -> None:
    part, optimizer = full["model"], full["optimizer"]
    model.check_placement(part["fusion"]["name"], part["placement"])
    if part["head"] == "none":
        model.check_no_head(part["placement"], part["layers"], part["readout"]["name"] or "last")
    known = optimizers.defaults(optimizer["name"])
    optimizer["options"] = _options(optimizer["options"], known, "optimizer.options")
    optimizers.make(**optimizer, epochs=full["training"]["epochs"])


def _options(
    given: Mapping[str, Any], known: Mapping[str, Any], path: str, whole: Mapping[str, bool] = MappingProxyType({})
) -> dict[str, Any]:
    """The options in the form of the defaults that are known, checked; `whole` as of `zoo.whole`."""
    checked = {k: ranges.option(v, known.get(k), f"{path}.{k}") for k, v in given.items()}
    return checked | {k: ranges.whole(checked[k], none, f"{path}.{k}") for k, none in whole.items() if k in checked}


def default_label(full: Mapping[str, Any]) -> str:
    """The mechanism's name and the options that differ from its defaults."""
    if full["control"]["name"]:
        kind, section = "control", full["control"]
    else:
        kind, section = "fusion", full["model"]["fusion"]
    known = plain(zoo.options(kind, section["name"]))
    changed = [f"{k}={v}" for k, v in section["options"].items() if v != known.get(k) and k != "validation_labels"]
    label = zoo.short(section["name"]) + (f"({', '.join(changed)})" if changed else "")
    if kind == "control" and section["options"].get("validation_labels"):
        label += VALIDATION_LABELS
    subset = full["data"]["modalities"]
    return f"{label} [{'+'.join(subset)}]" if subset else label
