"""Adds seeds to a study until its claims are decided, or, without any, its comparisons with the baseline.

The study is looked at when every cell has its seeds, and then every `step` seeds more, up to a limit; cells whose rows
take part in nothing that is undecided get no further seeds. The plan of the looks is written into study.json before the
first of them, and what is reported holds at all looks together (`results.sequential`): stopping when something shows
does not make it more likely to show by chance. A study that was interrupted goes on where it was.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from typing import Any

from fusion_jax import plan
from fusion_jax.results import claims as stated
from fusion_jax.results import compare, sequential, tables
from fusion_jax.results.row import Row
from fusion_jax.results.singles import is_single
from fusion_jax.results.store import Store
from fusion_jax.results.study_file import LOOKS
from fusion_jax.run.sweep import grown, identify, load_all, run
from fusion_jax.study import Cell
from fusion_jax.study.ranges import MOST

LIMIT, STEP = 30, 5


@dataclasses.dataclass(frozen=True)
class Look:
    """What one look found.

    Attributes:
        seeds: how many the cells that were still growing had.
        decided, undecided: claims, or rows against their baseline.
        growing: identities of the cells that take part in what is undecided.
    """

    seeds: int
    decided: tuple[str, ...]
    undecided: tuple[str, ...]
    growing: frozenset[str] = frozenset()


def run_until_decided(
    cells: Sequence[Cell],
    store: Store,
    source: str,
    *,
    limit: int = LIMIT,
    step: int = STEP,
    looked: Callable[[Look], None] = lambda look: None,
    **how: Any,
) -> int:
    """Runs the study look by look; returns how many cells failed in the last one.

    Args:
        limit, step: the most seeds a cell gets, and how many it gets at a time.
        looked: called with what every look found.
        how: what `run.sweep.run` takes.
    Raises:
        ValueError: looks that are not those the study was begun with, or none; whatever `run` raises.
    """
    there = store.read_study() if (store.root / "study.json").exists() else {}
    datasets = load_all(cells)
    identified = identify(cells, datasets, there.get("cells", ()))
    planned = _planned(there, max((cell.seeds for _, cell in identified), default=0), limit, step)
    seeds = [cell.seeds for _, cell in grown(identified, store)]
    while True:
        current = [dataclasses.replace(cell, seeds=n) for (_, cell), n in zip(identified, seeds, strict=True)]
        failed = run(current, store, source, looks=planned, **how)
        how.pop("loaded", None)  # what there is to say of the data has been said
        # what was tuned is the cell that was chosen now
        identified = identify([cell for _, cell in identified], datasets, store.read_study()["cells"])
        at = max(n for n in planned if n <= max(seeds))
        look = look_at(store, at)
        _write(store, look)
        looked(look)
        if not look.growing or at == planned[-1]:
            return failed
        then = planned[planned.index(at) + 1]
        seeds = [then if i in look.growing else n for (i, _), n in zip(identified, seeds, strict=True)]


def _planned(study: dict[str, Any], first: int, limit: int, step: int) -> tuple[int, ...]:
    """The looks of a study: those it was begun with, else as asked for."""
    before = tuple(study.get("looks", {}).get("plan", ()))
    if limit > MOST["seeds"] or limit > LOOKS * max(1, step):
        most = min(MOST["seeds"], LOOKS * max(1, step))
        raise ValueError(f"looks: at most {limit} seeds, {step} at a time; expected at most {most}")
    asked = sequential.plan(before[0] if before else first, limit, step)
    if before and asked != before:
        raise ValueError(
            f"looks: the study was begun with looks at {', '.join(map(str, before))} seeds, now asked for are "
            f"{', '.join(map(str, asked))}: to change them after a look would undo what they promise"
        )
    return asked


def look_at(store: Store, seeds: int) -> Look:
    """What is decided by now, and which cells are in what is not."""
    rows = tables.rows(store)
    if any(version["claims"] for version in store.read_study().get("claims", ())[-1:]):
        found = [
            (a.text, a.verdict != stated.UNDECIDED, [r for pair in a.pairs for r in pair])
            for a in stated.answer(store, rows)
        ]
    else:
        compared = [c for g in tables.grouped(rows).values() for c in compare.against(g, _primary(g))]
        found = [(f"{c.a.name}, {c.a.placement} on {c.a.data}", c.separated, [c.a, c.b]) for c in compared]
    rows_left = [row for _, done, pair in found if not done for row in pair]
    return Look(
        seeds,
        tuple(name for name, done, _ in found if done),
        tuple(name for name, done, _ in found if not done),
        _cells_of(store, rows_left),
    )


def _primary(group: Sequence[Row]) -> str:
    return next((row.primary for row in group if row.values), "accuracy")


def _cells_of(store: Store, rows: Sequence[Row]) -> frozenset[str]:
    """The cells behind rows; behind the best single modality all of one modality."""
    found = {row.cell for row in rows if row.cell}
    if any(not row.cell for row in rows):
        found |= {e["id"] for e in store.read_study()["cells"] if is_single(plan.of(e["config"]))}
    return frozenset(found)


def _write(store: Store, look: Look) -> None:
    """Adds a look to those of the study; one that is repeated with more results replaces the last."""
    looks = store.read_study()["looks"]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    taken = [t for t in looks.get("taken", ()) if t["seeds"] < look.seeds]
    entry = dict(seeds=look.seeds, time=now, decided=list(look.decided), undecided=list(look.undecided))
    store.amend(looks={**looks, "taken": [*taken, entry]})
