"""From a study's sweep to its cells, each with a name of its own in tables.

`sweep(add)` or `sweep(add, arg)` calls `add({dotted key: value, ...}, label="")` once a cell; `arg` is what stands
after the colon of `--config=FILE:arg`. With `tune=` values are chosen on validation rows first (`study.tuning`).
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from fusion_jax import zoo
from fusion_jax.study.cell import Cell
from fusion_jax.study.identity import NOT_IDENTITY
from fusion_jax.study.keys import flatten, plain, put, set_key
from fusion_jax.study.resolve import resolve
from fusion_jax.study.tuning import Tuning, as_tuning, check_budgets, ends, marked, of_cell


def expand(config: ConfigDict, sweep=None, arg: str = "", tune=None) -> list[Cell]:
    """The cells of a study: one a call of `add`, or the config itself without a sweep; equal cells once.

    Args:
        tune: how all cells are tuned that do not say it themselves (`add(..., tune=False)`: not at all): a `Tuning`, a
            space, or a function that returns one of them; None for not at all.
    Raises:
        ValueError: an unknown key (names the nearest), a value of another type, an unknown mechanism or option;
            variants that are tuned with other numbers of trials.
    """
    cells: list[Cell] = []
    tunings: list[Tuning] = []

    def add(
        overrides: Mapping[str, Any] | None = None, *, label: str = "", tune: Any = tune, trials: int | None = None
    ):
        cell_config = config.copy_and_resolve_references()
        cell_config.lock()
        for key, value in (overrides or {}).items():
            set_key(cell_config, key, value)
        if label:
            cell_config.label = label
        cell = resolve(cell_config)
        if tune is not None and tune is not False:
            tunings.append(as_tuning(tune, trials))
            cell = to_be_tuned(cell, tunings[-1])
        cells.append(cell)

    if sweep is None:
        add()
    else:
        _call(sweep, add, arg)
    unique: dict[str, Cell] = {}
    for cell in cells:
        unique.setdefault(cell.identity(""), cell)
    named = with_distinct_labels(list(unique.values()))
    check_budgets([(cell.label, cell.tuning) for cell in named if cell.tuning is not None])
    check_used(tunings, cells)
    return [_marked(cell) for cell in named]


def check_used(tunings: Iterable[Tuning], cells: Iterable[Cell]) -> None:
    """Raises ValueError where no cell has a key of a space, as a misspelt one of a control; names the nearest."""
    cells = list(cells)
    used = {key for cell in cells if cell.tuning is not None for key in cell.tuning.space}
    known = {
        key for cell in cells if cell.plan.control.name for key in flatten(cell.config) if "control.options" in key
    }
    for key in (key for given in tunings for key in given.space if key not in used):
        raise ValueError(f"tune: no cell of the study has {key!r}{zoo.nearest(key, known)}")


def to_be_tuned(cell: Cell, given: Tuning) -> Cell:
    """The cell with the part of a tuning that is for it; as it is where none is.

    Raises:
        ValueError: a key that the cell has not, a value that it cannot have; a tuning that leaves no row to choose on.
    """
    own = of_cell(given, cell.config)
    if own is None:
        return cell
    if cell.plan.protocol == "paper":
        raise ValueError(f"{cell.label}: tune under protocol 'paper', whose validation rows are the test rows")
    if cell.plan.control.options.get("validation_labels"):
        raise ValueError(f"{cell.label}: tune with validation_labels=True, which leaves no validation rows")
    for key, values in own.space.items():
        for value in ends(values):
            with_values(cell, {key: value})
    return dataclasses.replace(cell, tuning=own)


def with_values(cell: Cell, values: Mapping[str, Any]) -> Cell:
    """The cell with other values of some keys, checked as in a study.

    Raises:
        ValueError: no such key, naming the nearest; a value that it cannot have.
    """
    config = copy.deepcopy(cell.config)
    for key, value in values.items():
        put(config, key, value)
    return dataclasses.replace(resolve(config), label=cell.label)


def _marked(cell: Cell) -> Cell:
    """The cell under a label that says whether it is tuned."""
    if cell.tuning is None:
        return cell
    return dataclasses.replace(cell, label=marked(cell.label, cell.tuning.trials))


def _call(sweep, add, arg: str) -> None:
    sweep(add, arg) if len(inspect.signature(sweep).parameters) > 1 else sweep(add)


def set_by_all(sweep, arg: str = "") -> set[str]:
    """The dotted keys that every cell of a sweep sets itself, whatever the config says."""
    each: list[set[str]] = []

    def add(overrides: Mapping[str, Any] | None = None, *, label: str = "", tune: Any = None, trials: int = 0):
        del tune, trials
        each.append({*(overrides or {}), *(["label"] if label else [])})

    _call(sweep, add, arg)
    return set.intersection(*each) if each else set()


# A row is named by its fusion. Of these the name says too where they are not those of most rows of its table.
BESIDE = ("model.encoder.name", "model.layer.name", "model.mixer.name", "model.readout.name", "scheme.name")


def with_distinct_labels(cells: list[Cell]) -> list[Cell]:
    """The cells under names of rows: those that share one are told apart by the keys in which they differ, and those
    that were not given one say where another mechanism than in most rows stands beside the fusion."""

    def place(cell: Cell):
        plan = cell.plan
        # whether edges are used is said in tables beside the placement
        placement = "-" if plan.control.name else (plan.model.placement, plan.uses_edges)
        return cell.label, placement, *_table(cell)

    beside = _beside(cells)
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(place(cell), []).append(cell)
    named = {}
    for group in groups.values():
        flat = [flatten(c.config) for c in group]
        differing = {k for f in flat for k in f if any(f.get(k) != g.get(k) for g in flat)}
        keys = sorted(key for key in differing if key.partition(".")[0] not in NOT_IDENTITY)
        for cell, own in zip(group, flat, strict=True):
            told = [key for key in keys if _tells(key, own, flat)]
            told += [key for key in beside[id(cell)] if key not in keys]
            extra = ", ".join(differences(told, own, flat))
            named[id(cell)] = dataclasses.replace(cell, label=f"{cell.label}, {extra}" if extra else cell.label)
    return [named[id(c)] for c in cells]


def _table(cell: Cell) -> tuple[str, str]:
    """What rows of one table have in common."""
    part = cell.plan.data
    held = [part.name, part.options, part.setting, part.missing.name, part.missing.options]
    return cell.plan.protocol, json.dumps(held, sort_keys=True)


def _beside(cells: list[Cell]) -> dict[int, list[str]]:
    """{id of a cell: keys of `BESIDE` in which its model is not as most of its table}; without graph layers that is
    said beside the placement."""
    tables: dict[tuple, list[Cell]] = {}
    for cell in cells:
        if not cell.plan.control.name:
            tables.setdefault(_table(cell), []).append(cell)
    found = {id(cell): [] for cell in cells}
    for rows in tables.values():
        flat = [flatten(cell.config) for cell in rows]
        for key in BESIDE:
            most = collections.Counter(own[key] for own in flat).most_common(1)[0][0]
            for cell, own in zip(rows, flat, strict=True):
                if own[key] not in (most, "none") and not own["label"]:
                    found[id(cell)].append(key)
    return found


def _tells(key: str, own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> bool:
    """False for an option that its mechanism's name says: at its default, and the same in all that have this one."""
    section, dot, option = key.rpartition(".options.")
    kind, name = section.rpartition(".")[2], own.get(f"{section}.name")
    if not dot or not name or kind not in zoo.KINDS:
        return True
    value, default = own.get(key), plain(zoo.options(kind, name)).get(option)
    return value != default or any(f.get(key) != value for f in others if f.get(f"{section}.name") == name)


def alike(cells: Iterable[Cell]) -> list[str]:
    """A sentence for every group of labels that only differ between small and capital letters, and read as one row."""
    groups: dict[str, dict[str, None]] = {}
    for cell in cells:
        groups.setdefault(cell.label.casefold(), {})[cell.label] = None
    named = [" and ".join(map(repr, labels)) for labels in groups.values() if len(labels) > 1]
    return [f"rows {names} differ between small and capital letters only: give one another label" for names in named]


def differences(keys: Iterable[str], own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[str]:
    """ "key=value" of the keys in which a config {key: value} differs from others, for a row's name.

    A key without a value says nothing, and is left to those that have one; a file outside is named as in tables, unless
    another has the same name.
    """
    found = []
    for key in keys:
        value = own.get(key)
        if value is None or (not value and isinstance(value, str | Sequence | Mapping)):
            continue
        namesakes = [other[key] for other in others if key in other and short(other[key]) == short(value)]
        found.append(f"{key}={short(value) if all(other == value for other in namesakes) else value}")
    return found


def short(value: Any) -> Any:
    """A config's value as tables show it: of the path of a file the file's name."""
    return zoo.short(value) if isinstance(value, str) else value
