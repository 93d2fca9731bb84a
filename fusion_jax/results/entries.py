"""A cell in the list of a study, and the row of the table that its stored results make."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusion_jax import metrics, tasks, zoo
from fusion_jax.folders import Damaged
from fusion_jax.metrics.base import Scored
from fusion_jax.plan import Plan
from fusion_jax.results import calibration, influence, measured, memo
from fusion_jax.results.data_names import problem
from fusion_jax.results.row import NO_GRAPH, UNFINISHED, Row
from fusion_jax.results.store import Store
from fusion_jax.study import VALIDATION_LABELS, flatten

GRAPH = re.compile(r"model\.layers$|model\.layer\.|data\.(graph|views|test_views)$")  # keys of the graph and its layers


@dataclasses.dataclass(frozen=True)
class Entry:
    """A cell in the list of the study."""

    id: str
    label: str
    seeds: int
    plan: Plan
    config: dict[str, Any]
    planned: tuple[int, ...] = ()  # looks
    tuned: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def chosen(self) -> dict[str, Any]:
        """{key of the config: value} of what tuning chose."""
        return self.tuned.get("chosen", {})


def read(store: Store, entry: Entry, names: dict[str, str]) -> Row:
    """The row of a cell; one without values where a file of the cell is damaged, and says which."""
    label, placement = placed(entry.label, entry.plan)
    about = dict(
        label=label,
        placement=placement,
        data=names[problem(entry.plan.data)],
        protocol=entry.plan.protocol,
        setting=entry.plan.data.setting or "default",
        chosen=entry.chosen,
        trials=entry.tuned.get("trials", 0),
        role=_role(entry.plan),
        fusion="" if entry.plan.control.name else zoo.short(entry.plan.model.fusion.name),
        without_graph=_without_graph(entry),
    )
    try:
        key = repr(about), entry.seeds, tuple(entry.planned), tuple(zoo.names("metric"))
        return memo.once(store, entry.id, key, lambda: _read_row(store, entry, about))
    except Damaged as error:
        return Row(**about, values={}, parameters=None, seconds=None, error=str(error))


def _without_graph(entry: Entry) -> str:
    """What cells have in common that differ in their graph alone (`Row.without_graph`)."""
    if entry.plan.control.name:
        return ""
    free = tuple(f"{key}." for key in ("label", "seeds", *entry.chosen))
    rest = {k: v for k, v in flatten(entry.config).items() if not GRAPH.match(k) and not f"{k}.".startswith(free)}
    text = json.dumps([rest, entry.tuned.get("trials", 0)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _role(plan: Plan) -> str:
    """What a row is for, in a word of `Row.role`."""
    if plan.control.name:
        return "control"
    if plan.data.modalities == ("structure",):
        return "structure"
    if len(plan.data.modalities) == 1:
        return "modality"
    return "fusion" if _has_edges(plan) else "no graph"


def placed(label: str, plan: Plan) -> tuple[str, str]:
    """What the row of a cell is called, and where its fusion stands."""
    if plan.control.name:
        told = plan.control.options.get("validation_labels") and VALIDATION_LABELS not in label
        return label + VALIDATION_LABELS * bool(told), "-"
    return label, plan.model.placement + ("" if _has_edges(plan) else NO_GRAPH)


def _read_row(store: Store, entry: Entry, about: dict[str, str]) -> Row:
    identity = entry.id
    seeds = [s for s in store.finished_seeds(identity) if s < entry.seeds]
    failure = store.failure(identity)
    costs = store.costs(identity) if seeds else []
    diverged = {s: epoch for c in costs for s, epoch, *_ in c.get("diverged", ()) if s < entry.seeds}
    seeds = [s for s in seeds if s not in diverged]
    missing = entry.seeds - len(seeds) - len(diverged)
    error = (failure["error"] if failure else UNFINISHED) if missing else ""
    if not seeds:
        return Row(**about, values={}, parameters=None, seconds=None, error=error or _diverged(diverged))
    notes = ([error.partition("\n")[0]] if error else []) + ([_diverged(diverged)] if diverged else [])
    variant = about["label"]
    if notes:
        about["label"] += f" ({len(seeds)} of {entry.seeds} seeds{':' if error else ';'} {'; '.join(notes)})"
    total, count = sum(c.get("train_seconds", c["seconds"]) for c in costs), sum(c["seeds"] for c in costs)
    described = measured.about(store, identity)
    test = measured.measured(store, identity, "test", seeds)
    tested, known = _tested(test.rows, test.scored)
    met, of_met = _met(test) if tested is None else (None, {})
    digests = {int(s): digest for cost in costs for s, digest in cost.get("splits", {}).items()}
    return Row(
        **about,
        values=test.values,
        parameters=costs[0]["parameters"] or None,
        seconds=total / count,
        task=described["kind"],
        primary=tasks.primary(described),
        cell=identity,
        seeds=tuple(seeds),
        tested=tested,
        influence=known,
        calibration=_calibration(entry.plan, described["kind"], test.scored),
        **_program(costs),
        variant=variant,
        train_rows=test.trained,
        test_rows=tuple(len(own) for own in test.rows),
        met=met,
        met_influence=of_met,
        splits=tuple(digests[s] for s in seeds) if digests.keys() >= set(seeds) else (),
        looks=tuple(n for n in entry.planned if set(range(n)) <= {*seeds, *diverged}),
        limit=max(entry.planned, default=0),
    )


def _calibration(plan: Plan, kind: str, scored: Sequence[Scored]) -> calibration.Calibration | None:
    """The calibration of predictions that are probabilities of classes."""
    able = not plan.control.name or zoo.get("control", plan.control.name).probabilities
    return calibration.of(scored) if scored and able and tasks.of(kind).probabilities else None


def _program(costs: list[dict[str, Any]]) -> dict[str, float | None]:
    """What the compiler said of a cell's programs, the largest of them, and how long it took for all of them."""
    flops = [c["flops"] / c.get("flops_seeds", 1) for c in costs if c.get("flops")]
    memory = [c["peak_bytes"] for c in costs if c.get("peak_bytes")]
    largest = dict(flops=max(flops, default=None), peak_bytes=max(memory, default=None))
    compiled = [c["compile_seconds"] for c in costs if "compile_seconds" in c]
    return dict(largest, compile_seconds=sum(compiled) if compiled else None)


def _diverged(epochs: dict[int, int]) -> str:
    """Such as "seeds 1, 4 diverged at epoch 2" of {seed: epoch}; which, as "3 diverged" would say how many."""
    at = {e: [str(s) for s in sorted(epochs) if epochs[s] == e] for e in sorted(set(epochs.values()))}
    return "; ".join(f"seed{'s' * (len(s) > 1)} {', '.join(s)} diverged at epoch {e}" for e, s in at.items())


def _tested(rows: list[np.ndarray], scored: list[Scored]) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """The test rows that all seeds share and their influence {metric: [S, N]}; None and {} where there are none."""
    if not rows or any(not np.array_equal(own, rows[0]) for own in rows):
        return None, {}
    return rows[0], influence.of_shared_rows(scored)


def _met(test: measured.Measured) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """The rows that some seed tests and their influence {metric: [S, M]}, where a seed has more test than training rows
    (`results.differences`); None and {} for others. Of some seeds the mean is asked, of the first at a look."""
    if not test.rows or all(len(rows) <= trained for rows, trained in zip(test.rows, test.trained, strict=True)):
        return None, {}
    return influence.by_seed(test.rows, [metrics.influences([own]) for own in test.scored])


def _has_edges(plan: Plan) -> bool:
    """Whether a model looks at edges: through its graph layers, its encoders or its fusion."""
    readers = (("encoder", plan.model.encoder), ("fusion", plan.model.fusion))
    return plan.uses_edges or any("graph" in zoo.get(kind, part.name).info.needs for kind, part in readers)
