"""The cells of a study for its page: what became of each, its config, its learning curves, what it ran on."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fusion_jax.folders import Damaged
from fusion_jax.results import lock, running
from fusion_jax.results.store import Store
from fusion_jax.study import flatten

POINTS = 40  # epochs of a learning curve
CURVES = ("train_loss", "val_loss", "val_score")
COSTS = ("dim", "split_rule")
DONE, FAILED, RUNNING, WAITING = "done", "failed", "running", "waiting"


def title(store: Store, study: Mapping[str, Any]) -> str:
    """The study's name: that of its file, with its argument; of the folder where it has none."""
    file, _, argument = os.fspath(study.get("source", "")).partition(".py")
    name = pathlib.PurePath(file).name or store.root.name
    return name + (argument if argument.startswith(":") else "")


def collect(store: Store, study: Mapping[str, Any]) -> dict[str, Any]:
    """`cells` in the order of the study, `common` (config keys that are the same in all), `environments`."""
    configs = [flatten(entry["config"]) for entry in study["cells"]]
    common = {k: v for k, v in (configs[0] if configs else {}).items() if all(_same(c, k, v) for c in configs)}
    states = state(store, study)
    environments: dict[str, int] = {}
    cells = {}
    for entry, config in zip(study["cells"], configs, strict=True):
        own = {k: v for k, v in config.items() if k not in common}
        about = dict(label=entry["label"], seeds=entry["seeds"], config=own, **states[entry["id"]])
        try:
            about |= _finished(store, entry["id"], environments) if about["finished"] else {}
        except Damaged as error:
            about["damaged"] = str(error)
        cells[entry["id"]] = about
    return dict(cells=cells, common=common, environments=[json.loads(text) for text in environments])


def _same(config: Mapping[str, Any], key: str, value: Any) -> bool:
    return key in config and config[key] == value


def state(store: Store, study: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{cell: state, finished seeds, error and traceback of the last attempt}; reads no result."""
    trained, held = running.read(store), lock.held(store.root)
    found = {}
    for entry in study["cells"]:
        identity = entry["id"]
        try:
            seeds = [s for s in store.finished_seeds(identity) if s < entry["seeds"]]
            failure = store.failure(identity) or {}
        except Damaged as error:
            seeds, failure = [], dict(error=str(error))
        now = DONE if len(seeds) >= entry["seeds"] else FAILED if failure else WAITING
        if now != DONE and trained is not None and (identity in trained or identity in held):
            now = RUNNING
        found[identity] = dict(state=now, finished=seeds)
        if now == RUNNING:
            found[identity] |= dict(progress=trained.get(identity, {}))
        if now != DONE and failure:
            found[identity] |= dict(error=failure.get("error", ""), traceback=failure.get("traceback", ""))
    return found


def counts(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """How many cells are in each state."""
    states = [cell["state"] for cell in cells.values()]
    return {name: states.count(name) for name in (DONE, FAILED, RUNNING, WAITING)}


def _finished(store: Store, identity: str, environments: dict[str, int]) -> dict[str, Any]:
    """Width, splits, divergences, environments (numbers in `environments`) and learning curves of a finished cell."""
    costs = store.costs(identity)
    found = {name: costs[-1][name] for name in COSTS if costs[-1].get(name) is not None}
    found["best_epoch"] = [epoch for cost in costs for epoch in cost.get("best_epoch", ())]
    found["diverged"] = [gone for cost in costs for gone in cost.get("diverged", ())]
    texts = dict.fromkeys(json.dumps(env, sort_keys=True) for env in store.environments(identity))
    found["environments"] = [environments.setdefault(text, len(environments)) for text in texts]
    if store.has(identity, "history.parquet"):
        parts = list(store.columns(identity, "history"))
        found["curves"] = curves({name: np.concatenate([p[name] for p in parts]) for name in parts[0]})
    return found


def curves(history: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """`epochs` [T <= POINTS] and, of each of `CURVES` that is there, its values [S, T]; null where a seed has ended.

    Args:
        history: the columns of the table, [n] each.
    """
    looked = np.isfinite(history["val_loss"]) if "val_loss" in history else np.zeros(len(history["epoch"]), bool)
    seeds, epochs = np.unique(history["seed"]), np.unique(history["epoch"][looked if looked.any() else slice(None)])
    if not len(epochs):
        return {}
    shown = epochs[np.unique(np.linspace(0, len(epochs) - 1, min(POINTS, len(epochs))).round().astype(int))]
    kept = np.isin(history["epoch"], shown)
    at = np.searchsorted(seeds, history["seed"][kept]), np.searchsorted(shown, history["epoch"][kept])
    found: dict[str, Any] = dict(epochs=shown, seeds=seeds)
    for name in CURVES:
        if name in history and np.isfinite(history[name]).any():
            values = np.full((len(seeds), len(shown)), np.nan)
            values[at] = history[name][kept]
            found[name] = rounded(values)
    return found


def rounded(values: np.ndarray, digits: int = 4) -> np.ndarray:
    """To so many significant digits, which is more than a curve shows."""
    values = np.asarray(values, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        places = digits - 1 - np.floor(np.log10(np.abs(values)))
    scale = np.power(10.0, np.where(np.isfinite(places), np.clip(places, -300, 300), 0))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(scale >= 1, np.rint(values * scale) / scale, np.rint(values * scale) * (1 / scale))
