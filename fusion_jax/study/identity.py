"""What names a cell in the store: a hash of all that decides its numbers, and of nothing else.

Counted are the data set's fingerprint (`data.fingerprint`), what the config leaves to the data set as it is used (the
modalities in their order, the edge set, the setting, the edge sets of evaluation), every value of the config, and the
`version` of every mechanism that is used, where it is not 1 (of one outside the package its file's sha256 or its
distribution's version too, `zoo.version`): of what the task or the fusion brings, of each of several targets, of the
fusion that a size is taken from, and of what a mechanism's file takes from another's, as of what the config names.

Not counted: the number of seeds, the label, where files of data lie (`data.places`), what only concerns running
(chunks, checkpoints, resources), for a control what only models read, and what came later: a key or an option that
schema 2 had not counts only where it differs from the default it was introduced with (`frozen.json`; the mechanism's
own for one that does not stand there yet). So a new key or option leaves every stored result valid, and a new default
of an old one does not pass for the old. Of a mechanism outside the package no default is written down, so that every
option counts. Not known without building a model, and not counted, are the structures it declares: see
`structures.base`. Splits of seeds other than 0 do not count, since seeds may be added later: each stored seed keeps the
digest of its own (`Store.check_splits`).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import json
from collections.abc import Iterator, Mapping
from typing import Any

from fusion_jax import tasks, zoo
from fusion_jax.data import places
from fusion_jax.data.base import Dataset
from fusion_jax.records import Target
from fusion_jax.study import layout
from fusion_jax.training.build import usual_loss

SCHEMA = 2  # of what a cell's files and numbers mean; a new one makes every cell a new one

NOT_IDENTITY = ("label", "seeds", "resources")  # how a row is told from others, how often it is tried, and on what
_RUNTIME = ("checkpoint_seconds", "seed_axis", "node_devices", "chunk")
_OF_MODELS = ("model", "optimizer", "training", "scheme", "loss", "size")
SECTIONS = {  # key: kind of the mechanism that it names
    "model.encoder": "encoder",
    "model.fusion": "fusion",
    "model.layer": "layer",
    "model.readout": "readout",
    "model.mixer": "mixer",
    "control": "control",
    "scheme": "scheme",
    "loss": "loss",
    "data.missing": "missing",
}


@zoo.held()
def identity(config: Mapping[str, Any], data: Dataset | str) -> str:
    """16 hex digits of the sha256 over what the module says.

    Args:
        config: resolved.
        data: the data set; or a text that stands for it, and then the config counts as it is written.
    """
    counted, target = {k: v for k, v in config.items() if k not in NOT_IDENTITY}, None
    if not isinstance(data, str):
        counted["data"] = _as_used(counted["data"], data)
        data, target = data.fingerprint, data.target
    counted["training"] = {k: v for k, v in counted["training"].items() if k not in _RUNTIME}
    if counted["control"]["name"]:  # a control reads none of these
        counted = {k: v for k, v in counted.items() if k not in _OF_MODELS}
        counted["per_seed"] = [what for what in counted["per_seed"] if what != "dropout"]
    counted = layout.of_then(counted)
    for kind, section in _named(counted):
        section["options"] = _counted_options(kind, section["name"], section.get("options", {}))
    versions: dict[str, list] = {}
    for kind, name in _used(counted, target):
        own, version = versions.setdefault(f"{kind}/{zoo.short(name)}", []), zoo.version(kind, name)
        own += [version] if version not in own else []  # files in different folders may share a name
    if changed := {name: own for name, own in versions.items() if own != [[1]]}:
        counted["versions"] = {name: own[0] if len(own) == 1 else sorted(own, key=str) for name, own in changed.items()}
    _forget_places(counted)
    text = json.dumps([SCHEMA, data, counted], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _named(config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind and section of every mechanism that a config names."""
    for path, kind in SECTIONS.items():
        section: Any = config
        for part in path.split("."):
            section = section.get(part, {})
        if section.get("name"):
            yield kind, section


def _used(config: Mapping[str, Any], target: Target | None) -> Iterator[tuple[str, str]]:
    """Kind and name of every mechanism that takes part; where the target is known also of those that it brings."""
    waiting = list(_chosen(config, target))
    found = dict.fromkeys(waiting)
    while waiting:
        new = [used for used in zoo.uses(*waiting.pop()) if used not in found]
        found |= dict.fromkeys(new)
        waiting += new
    yield from found


def _chosen(config: Mapping[str, Any], target: Target | None) -> Iterator[tuple[str, str]]:
    """Those that the config names, or the target or the fusion brings."""
    for kind, section in _named(config):
        yield kind, section["name"]
    parts = [] if target is None else [part for _, part, _ in tasks.of(target).parts(target)]
    for known in [] if target is None else [target, *parts]:
        yield "task", known.kind
    model, loss = config.get("model"), config.get("loss", {})
    for name in loss.get("extra", {}):
        yield "loss", name
    if like := config.get("match_params"):  # size.like, in the layout of schema 2
        yield "fusion", like
    if model and target is not None:
        usual = loss["name"] or usual_loss(model["fusion"]["name"], model["placement"], target)
        yield "loss", usual
        if usual == "several":
            for name in loss["options"].get("losses") or [tasks.of(part).loss for part in parts]:
                yield "loss", name
        if not model["readout"]["name"]:
            yield "readout", tasks.of(target).readouts[target.level]


def _forget_places(counted: dict[str, Any]) -> None:
    """Paths become names: where a file lies says nothing, what stands in it does."""
    for section in [counted["data"], *(section for _, section in _named(counted))]:
        section["name"] = zoo.short(section["name"])
    if "match_params" in counted:
        counted["match_params"] = zoo.short(counted["match_params"])
    loss = counted.get("loss", {})
    if "extra" in loss:
        loss["extra"] = {zoo.content("loss", name): weight for name, weight in loss["extra"].items()}
    if "losses" in loss.get("options", ()):
        loss["options"]["losses"] = [zoo.content("loss", name) for name in loss["options"]["losses"]]


def _counted_options(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that schema 2 had, and of later ones those that differ from what they were introduced with."""
    if zoo.outside(kind, name):
        return dict(options)
    frozen, own = _frozen(), f"{kind}/{name}"
    first = frozen["schema 2"]["options"].get(own, ())
    introduced = {k: _json(v) for k, v in zoo.options(kind, name).items()} | frozen["later"].get(own, {})
    counted = {k: v for k, v in options.items() if k in first or k not in introduced or v != introduced[k]}
    return counted | {k: v for k, v in layout.GONE.get(kind, {}).items() if k in first}


@functools.cache
def _frozen() -> dict[str, Any]:
    return json.loads(importlib.resources.files(__package__).joinpath("frozen.json").read_text(encoding="utf-8"))


def _json(value: Any) -> Any:
    """The value as it is after a round trip through JSON."""
    return json.loads(json.dumps(value))


def _as_used(part: Mapping[str, Any], data: Dataset) -> dict[str, Any]:
    """The `data` keys of a config with what they leave to the data set filled in."""
    where = places(part["name"])
    return {
        **part,
        "options": {k: v for k, v in part["options"].items() if k not in where},
        "modalities": list(part["modalities"]) or list(data.features),
        "graph": part["graph"] or data.default_graph,
        "test_views": list(part["test_views"]) or list(part["views"]),
        "setting": part["setting"] or data.setting,
    }
