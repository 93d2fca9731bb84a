"""The best single modality: a row that is made of those of one modality each, chosen by validation for every seed."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Sequence

import numpy as np

from fusion_jax.plan import Plan
from fusion_jax.results import influence, measured
from fusion_jax.results.entries import Entry
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store
from fusion_jax.study import differences, flatten

SINGLE = "best single modality (by validation)"
SINGLE_PAPER = "best single modality (selected on test)"  # under protocol `paper`, whose validation rows are test rows

Single = tuple[Row, Entry]  # a row of one modality, its entry in the study


def with_best(store: Store, found: Sequence[tuple[Row, Entry]]) -> list[Row]:
    """The rows of the entries, after the last row of each model's single modalities that of the best of them."""
    rows, singles = [row for row, _ in found], {}
    wanted = collections.Counter(_without_modalities(entry) for _, entry in found if is_single(entry.plan))
    for row, entry in found:
        if row.values and is_single(entry.plan):
            singles.setdefault(_without_modalities(entry), []).append((row, entry))
    made = [(g, _best_single(store, g, wanted[key])) for key, g in singles.items() if wanted[key] > 1]
    for (group, row), label in zip(made, _distinct_labels(made), strict=True):
        if row is not None:
            last = max(i for i, r in enumerate(rows) if any(r is g for g, *_ in group))
            told_apart = label.removeprefix(row.label)
            rows.insert(last + 1, dataclasses.replace(row, label=label, variant=row.variant + told_apart))
    return rows


def is_single(plan: Plan) -> bool:
    """Whether a model sees one modality only, and no encoding of the graph."""
    modalities = plan.data.modalities
    return len(modalities) == 1 and modalities[0] != "structure" and not plan.control.name


def _without_modalities(entry: Entry) -> str:
    """What rows have in common that differ in their modality alone, and in the values that tuning chose for it."""
    rest = dataclasses.replace(entry.plan, data=dataclasses.replace(entry.plan.data, modalities=()))
    tuned = tuple(f"{key}." for key in entry.chosen)
    left = {k: v for k, v in flatten(dataclasses.asdict(rest)).items() if not f"{k}.".startswith(tuned)}
    return json.dumps([left, sorted(entry.chosen), entry.tuned.get("trials", 0)], sort_keys=True)


def _best_single(store: Store, group: list[Single], modalities: int) -> Row | None:
    """For every seed the single modality with the best validation score (ties: the task's own, such as log-loss).

    The rows are of one model, and of the seeds that all have finished; None without any. Of the `modalities` that the
    study names some may have no result: the label says so.
    """
    first, entry = group[0]
    seeds = sorted(set.intersection(*(set(row.seeds) for row, _ in group)))
    if not seeds:
        return None
    scores = [measured.validation(store, row.cell, seeds) for row, _ in group]
    chosen = [group[max(range(len(group)), key=lambda i, s=s: scores[i][s])][0] for s in seeds]
    at = [(row, row.seeds.index(seed)) for row, seed in zip(chosen, seeds, strict=True)]

    def picked(field: str) -> tuple:
        return tuple(getattr(r, field)[i] for r, i in at) if all(getattr(r, field) for r, _ in at) else ()

    met, of_met = _picked_met(at)
    wanted = max(e.seeds for _, e in group)
    counts = ((len(seeds), wanted, "seeds"), (len(group), modalities, "modalities"))
    lacks = ", ".join(f"{some} of {every} {what}" for some, every, what in counts if some < every)
    plain = SINGLE if first.protocol != "paper" else SINGLE_PAPER
    label = plain + (f" ({lacks})" if lacks else "")
    shared = all(r.tested is not None and np.array_equal(r.tested, first.tested) for r, _ in group)
    known = [m for m in first.influence if all(m in r.influence for r, _ in group)] if shared else []
    return dataclasses.replace(
        first,
        label=label,
        values={m: np.array([r.values[m][i] for r, i in at]) for m in first.values},
        parameters=first.parameters if len({r.parameters for r, _ in group}) == 1 else None,
        seconds=sum(r.seconds for r, _ in group),
        **{key: None for key in ("flops", "peak_bytes", "compile_seconds", "calibration")},
        cell="",
        chosen={},
        seeds=tuple(seeds),
        tested=first.tested if shared else None,
        influence={m: np.stack([r.influence[m][i] for r, i in at]) for m in known},
        variant=plain,
        met=met,
        met_influence=of_met,
        looks=tuple(n for n in first.looks if all(n in r.looks for r, _ in group)),
        **{field: picked(field) for field in ("train_rows", "test_rows", "splits")},
    )


def _picked_met(at: list[tuple[Row, int]]) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """`Row.met` and `Row.met_influence` of the chosen (row, number of its seed), one a seed."""
    if any(row.met is None for row, _ in at):
        return None, {}
    tested = [~np.isnan([psi[i] for psi in row.met_influence.values()]).all(0) for row, i in at]
    known = [
        {m: psi[i][own][None] for m, psi in row.met_influence.items()} for (row, i), own in zip(at, tested, strict=True)
    ]
    return influence.by_seed([row.met[own] for (row, _), own in zip(at, tested, strict=True)], known)


def _distinct_labels(made: list[tuple[list[Single], Row | None]]) -> list[str]:
    """Labels of the best single modalities: those that would stand beside one another say in which keys they differ."""
    labels = []
    for group, row in made:
        if row is None:
            labels.append("")
            continue
        like = [flatten(g[0][1].config) for g, r in made if r is not None and _place(r) == _place(row)]
        own = flatten(group[0][1].config)
        differing = {k for f in like for k in {**f, **own} if f.get(k) != own.get(k)}
        tuned = {k for g, _ in made for _, entry in g for k in entry.chosen}
        keys = sorted(differing - {"label", "seeds", "data.modalities"} - tuned)
        labels.append(", ".join([row.label, *differences(keys, own, like)]))
    return labels


def _place(row: Row) -> tuple[str, ...]:
    return row.data, row.placement, row.protocol, row.setting
