"""Trains a finished cell once more, in a folder of its own, and compares number by number.

The same seeds are trained together as then, part by part; what is compared is every parameter of the best epoch, every
prediction, metric and line of the history. Equal means the same bits: NaN equals NaN, 0.0 and -0.0 differ.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from fusion_jax.data import Dataset
from fusion_jax.data.stored import Kept
from fusion_jax.results import restore
from fusion_jax.results.environment import environment
from fusion_jax.results.store import Store
from fusion_jax.run.cell import Progress, run_cell
from fusion_jax.study import Cell
from fusion_jax.training import checkpoint

TABLES = ("metrics", "predictions", "history")
KEYS = ("seed", "epoch", "row", "part", "metric")  # what names a line of a table, and is the same in both


@dataclasses.dataclass(frozen=True)
class Apart:
    """Numbers that came out otherwise.

    Attributes:
        what: which: "parameters", "metrics", "predictions" or "history".
        first: where they begin to differ, in words.
        count, of: how many differ, of how many.
        most: the largest absolute difference; NaN where one of the two is not finite, or the forms differ.
    """

    what: str
    first: str
    count: int
    of: int
    most: float


@dataclasses.dataclass(frozen=True)
class Repeated:
    """A cell that was trained once more.

    Attributes:
        identity, label, seeds: of the cell; the seeds that were repeated.
        compared: {what: how many numbers}.
        apart: what came out otherwise, () where all is the same bit for bit.
        changed: {what: (then, now)} of the versions, the revision, the flags and the devices.
    """

    identity: str
    label: str
    seeds: tuple[int, ...]
    compared: Mapping[str, int]
    apart: tuple[Apart, ...]
    changed: Mapping[str, tuple[Any, Any]]

    @property
    def equal(self) -> bool:
        return not self.apart

    @property
    def text(self) -> str:
        """What came of it: a sentence, a line for everything that differs, and for everything that has changed."""
        counted = ", ".join(f"{count:,} {what}" for what, count in self.compared.items())
        who = f"{self.label} ({self.identity}), {len(self.seeds)} seeds"
        lines = [f"{who}: bitwise equal ({counted})" if self.equal else f"{who}: not equal"]
        for one in self.apart:
            most = "" if np.isnan(one.most) else f", by {one.most:.3g} at most"
            lines.append(f"{one.what}: {one.count:,} of {one.of:,} numbers differ{most}; the first: {one.first}")
        for what, (then, now) in self.changed.items():
            same = f"may be another: {what} is {_said(now)}, then and now"  # of the code beside its revision
            lines.append(same if then == now else f"changed since: {what} was {_said(then)}, is {_said(now)}")
        if self.apart and not self.changed:
            lines.append("versions, revision, flags and devices are the same")
        return "\n".join(lines)


def repeat(
    store: Store,
    identity: str,
    folder: epath.Path,
    *,
    data: Dataset | None = None,
    progress: Progress | None = None,
) -> Repeated:
    """Trains every part of a finished cell again, with the seeds it had, and compares.

    Args:
        identity: as many of its first characters as no other finished cell's starts with.
        folder: for the new trainings; `part-0` and so on must not be there.
        data: the data set, if it is loaded already.
    Raises:
        ValueError: no such cell; its data set is not the one it was trained on; it lay in memory, and its seeds' splits
            cannot be handed over under protocol `paper`; `folder` holds a repetition; seeds of one training
            do not fit into memory together.
        FloatingPointError: every seed diverges now.
    """
    identity = restore.whole_identity(store, identity)
    cell = Cell(store.config(identity), "", 0)
    data, splits = restore.data_of(store, identity, cell, data)
    if splits is not None:
        data = _with_splits(data, splits, cell)
    apart: dict[str, list[Apart]] = {}
    compared: dict[str, int] = {}
    parts = store.parts(identity)
    for number, (part, seeds) in enumerate(parts):
        place = folder / f"part-{number}"
        if place.exists():
            raise ValueError(f"{place} is there already; name a folder without a repetition")
        new = Store(place, create=True)
        run_cell(dataclasses.replace(cell, seeds=max(seeds) + 1), new, data, progress, identity, tuple(seeds))
        if len(found := new.parts(identity)) > 1:
            raise ValueError(f"{identity}: its {len(seeds)} seeds trained together, and do not fit into memory here")
        [(again, _)] = found
        for what, first, then, now in _both(store, new, identity, number, part, again):
            compared[what] = compared.get(what, 0) + np.size(then)
            if (found := _apart(what, first, np.asarray(then), np.asarray(now))) is not None:
                apart.setdefault(what, []).append(found)
    return Repeated(
        identity,
        store.record(identity)["label"],
        tuple(itertools.chain.from_iterable(seeds for _, seeds in parts)),
        compared,
        tuple(_joined(what, some, compared[what]) for what, some in apart.items()),
        changed([*store.environments(identity), *(e for c in store.costs(identity) for e in c.get("earlier", ()))]),
    )


def changed(then: list[Mapping[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """{what: (then, now)} of what a result depends on besides its config, where it is another now.

    Args:
        then: the environments of a cell's trainings; what one of them does not state is not compared.
    """
    now, found = _flat(environment()), {}
    for stated in map(_flat, then):
        for what, value in stated.items():
            if what in now and now[what] != value:
                found.setdefault(what, (value, now[what]))
    if "git_dirty" not in found and any(one.get("git_dirty") for one in [now, *then]):
        found["git_dirty"] = (True, True)  # of two changed checkouts nobody knows whether they are the same
    return found


def _flat(held: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found = {}
    for key, value in held.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {before + key: value}
    return found


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _with_splits(data: Dataset, splits: Mapping[int, Any], cell: Cell) -> Dataset:
    """The data set that was kept, which knows the split of seed 0, with those of all seeds."""
    if cell.plan.protocol == "paper":
        raise ValueError(
            f"data set {data.name!r} lay in memory and is kept without its validation rows, which protocol 'paper' "
            "trains on: it cannot be repeated without the data set (data=)"
        )
    known = splits if "split" in cell.plan.per_seed else {0: next(iter(splits.values()))}
    kept = {0: data.split(0), **known}
    return dataclasses.replace(data, splits=dataclasses.replace(data.splits, draw=Kept(kept), rows=None))


def _both(
    then: Store, now: Store, identity: str, number: int, part: epath.Path, again: epath.Path
) -> Iterator[tuple[str, str, Any, Any]]:
    """(what, which, the numbers then, the numbers now) of everything that was stored of one training."""
    for table in TABLES:
        if then.has(identity, f"{table}.parquet") and now.has(identity, f"{table}.parquet"):
            old = next(itertools.islice(then.columns(identity, table), number, None))
            new = next(now.columns(identity, table))
            lines = [k for k in KEYS if k in old and k in new]
            values = [c for c in old if c not in lines and old[c].dtype.kind in "fc"]
            other = next((c for c in lines if not _same(old[c], new[c])), None)
            if other is not None:  # numbers of other lines are not compared
                yield table, other, old[other], new[other]
            for column in values if other is None else ():
                yield table, _Line(old, lines, column), old[column], new.get(column, np.array([]))
    if (part / "checkpoint").exists():
        old, new = (checkpoint.flat(_weights(folder)) for folder in (part, again))
        for name in old:
            yield "parameters", name, old[name], new.get(name, np.array([]))


def _weights(part: epath.Path) -> Any:
    saved = checkpoint.restore(part / "checkpoint")
    return {name: saved[name] for name in ("params", "rest") if name in saved}


class _Line:
    """Says which line of a table a place is."""

    def __init__(self, table: Mapping[str, np.ndarray], keys: list[str], column: str):
        self.table, self.keys, self.column = table, keys, column

    def __call__(self, place: int) -> str:
        where = [f"{key} {self.table[key][place]}" for key in self.keys]
        return f"{self.column} of {', '.join(where)}"


def _same(then: np.ndarray, now: np.ndarray) -> bool:
    return then.shape == now.shape and bool(np.all(then == now))


def _apart(what: str, first: Any, then: np.ndarray, now: np.ndarray) -> Apart | None:
    """How two arrays differ; None where they are the same bits."""
    if then.shape != now.shape or then.dtype != now.dtype:
        where = first if isinstance(first, str) else first.column
        forms = f"{where}: {then.dtype} {list(then.shape)} then, {now.dtype} {list(now.shape)} now"
        return Apart(what, forms, then.size, then.size, np.nan)
    if then.dtype.kind not in "fc":
        other = then != now
    else:
        other = _bits(then) != _bits(now)
        other &= ~(np.isnan(then) & np.isnan(now))
    if not other.any():
        return None
    place = np.argwhere(other)[0]
    shown = f"{then[tuple(place)]} then, {now[tuple(place)]} now"
    where = first if isinstance(first, str) else first(int(place[0]))
    most = np.abs(then[other].astype(complex) - now[other]).max() if then.dtype.kind in "fc" else np.nan
    return Apart(what, f"{where}: {shown}", int(other.sum()), then.size, float(most))


def _bits(x: np.ndarray) -> np.ndarray:
    """The numbers as so many bytes each, which are compared as such."""
    return np.ascontiguousarray(x).view(f"V{x.dtype.itemsize}").reshape(x.shape)


def _joined(what: str, some: list[Apart], of: int) -> Apart:
    finite = [one.most for one in some if not np.isnan(one.most)]
    most = max(finite) if len(finite) == len(some) else np.nan
    return Apart(what, some[0].first, sum(one.count for one in some), of, most)
