"""The table of a study: a row a variant x placement, with means, spreads, sizes and seconds.

Rows are read from the Parquet files of the store; nothing is trained again.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from fusion_jax import metrics, plan, tasks, zoo
from fusion_jax.data import places
from fusion_jax.folders import Damaged
from fusion_jax.metrics.base import Scored
from fusion_jax.plan import DataPlan, Plan
from fusion_jax.results import calibration, influence, measured, memo
from fusion_jax.results.store import Store
from fusion_jax.study import VALIDATION_LABELS, differences, flatten, short

UNFINISHED = "not finished"
PUBLISHED, KNOWN = "published", "known"  # stand for the protocol of rows that are not run: see `study.published`
NO_GRAPH = " (no graph)"  # at the end of a placement
SINGLE = "best single modality (by validation)"
SINGLE_PAPER = "best single modality (selected on test)"  # under protocol `paper`, whose validation rows are test rows


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        label, placement, layer, data, protocol, setting: what the row is.
        values: {metric: float [S]} on test rows, from the stored predictions where there are any.
        parameters, seconds: of one seed; None where they mean nothing.
        error: the message of a failed cell, `UNFINISHED` where seeds are missing, "" otherwise.
        task, primary: what is predicted, and the metric that ranks.
        table: which metrics are shown, those of the "main" table or of "calibration".
        published: {metric: (mean, standard deviation or None)} of a row that others have published or that is known
            without running anything, which takes no part in comparisons; source: what to cite for it.
        cell: identity of the row's cell; "" of a row that is not one cell's.
        seeds: of the values, in their order; () for 0, 1, ...
        tested: int [N], the test rows where all its seeds have the same ones: their spread is of training alone.
            None where every seed draws its own, or no predictions are stored.
        influence: {metric: float [S, N]} of these rows, see `fusion_jax.results.influence`; {} where there are none.
        trials, chosen: of a tuned row how many trials were tried, and {key of the config: value} of the one it is; 0
            and {} where the values were set by hand.
        role: what the row is for: a "fusion" of several modalities with the graph, the same with "no graph", one
            "modality" alone, the graph's "structure" alone, a "control", or "" of a row that is not run.
        fusion: the mechanism's name; "" of controls and of rows that are not run.
        calibration: of its class probabilities; None where there are none, or the row is not one cell's.
        flops: of an epoch of one seed; peak_bytes, compile_seconds: of the compiled program, which trains all of them;
            None where they are not recorded.
        variant: the label without what it says of seeds that are missing; "" for the label.
        train_rows, test_rows: how many of them each seed has; () where no predictions are stored.
        met: int [M], the rows that some seed tests, where every seed draws its own; None where they are fixed, or there
            are no more test rows than training rows, so that nobody asks.
        met_influence: {metric: float [M]} of them, of each the mean over the seeds that test it; {} where not known.
        splits: the digest of each seed's split; () where it is not stored.
        looks, limit: the numbers of seeds at which it was looked at while seeds were added up to a limit (`run.until`);
            () and 0 where their number was fixed.
        without_graph: the same of rows whose configs differ in the graph and its layers alone, and in what tuning
            chose; "" of controls and of rows that are not run.
    """

    label: str
    placement: str
    data: str
    protocol: str
    setting: str
    values: dict[str, np.ndarray]
    parameters: int | None
    seconds: float | None
    error: str = ""
    task: str = "classes"
    primary: str = "accuracy"
    table: str = "main"
    published: dict[str, tuple[float, float | None]] = dataclasses.field(default_factory=dict)
    source: str = ""
    cell: str = ""
    seeds: tuple[int, ...] = ()
    tested: np.ndarray | None = None
    influence: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    chosen: dict[str, Any] = dataclasses.field(default_factory=dict)
    trials: int = 0
    variant: str = ""
    role: str = ""
    fusion: str = ""
    calibration: calibration.Calibration | None = None
    flops: float | None = None
    peak_bytes: float | None = None
    compile_seconds: float | None = None
    train_rows: tuple[int, ...] = ()
    test_rows: tuple[int, ...] = ()
    met: np.ndarray | None = None
    met_influence: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    splits: tuple[str, ...] = ()
    looks: tuple[int, ...] = ()
    limit: int = 0
    without_graph: str = ""

    @property
    def name(self) -> str:
        """What the row is called whether or not all of its seeds are there."""
        return self.variant or self.label

    def by_seed(self, metric: str) -> dict[int, float]:
        """{seed: value} of a metric."""
        values = self.values[metric]
        return dict(zip(self.seeds or range(len(values)), map(float, values), strict=True))


def rows(store: Store) -> list[Row]:
    """The rows of a study in the order of its sweep, failed cells among them, derived rows after their sources.

    Raises:
        FileNotFoundError: the folder holds no study.
    """
    found: list[Row] = []
    singles: dict[str, list[Single]] = {}
    written = store.read_study()
    planned = tuple(written.get("looks", {}).get("plan", ()))
    entries = [
        Entry(e["id"], e["label"], e["seeds"], plan.of(e["config"]), e["config"], planned, e.get("tuned", {}))
        for e in written["cells"]
    ]
    names = data_names([e.plan.data for e in entries])
    wanted = collections.Counter(_without_modalities(e.plan) for e in entries if is_single(e.plan))
    for entry in entries:
        found.append(row := _row(store, entry, names))
        if row.values and is_single(entry.plan):
            singles.setdefault(_without_modalities(entry.plan), []).append((row, entry))
    made = [(g, _best_single(store, g, wanted[key])) for key, g in singles.items() if wanted[key] > 1]
    for (group, row), label in zip(made, _distinct_labels(made), strict=True):
        if row is not None:
            last = max(i for i, r in enumerate(found) if any(r is g for g, *_ in group))
            told_apart = label.removeprefix(row.label)
            found.insert(last + 1, dataclasses.replace(row, label=label, variant=row.variant + told_apart))
    known = {row.data: row.task for row in found if row.values}
    return found + [_published(entry, known.get(entry["data"])) for entry in written.get("published", ())]


def _published(entry: dict[str, Any], task: str | None) -> Row:
    """A row without seeds, whose protocol says what it is; without a `task` it is of that of most of its metrics."""
    values = {m: (float(mean), None if sd is None else float(sd)) for m, (mean, sd) in entry["values"].items()}
    task = task or max(zoo.names("task"), key=lambda kind: len(values.keys() & metrics.of(kind).keys()))
    return Row(
        entry["label"],
        "-",
        short(entry["data"]),
        entry.get("protocol", PUBLISHED),
        "",
        {},
        None,
        None,
        task=task,
        published=values,
        source=entry["source"],
    )


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


Single = tuple[Row, Entry]  # a row of one modality, its entry in the study


def _without_modalities(plan: Plan) -> str:
    """What rows that differ in their modality alone have in common."""
    rest = dataclasses.replace(plan, data=dataclasses.replace(plan.data, modalities=()))
    return json.dumps(dataclasses.asdict(rest), sort_keys=True)


GRAPH = re.compile(r"model\.layers$|model\.layer\.|data\.(graph|views|test_views)$")  # keys of the graph and its layers


def _without_graph(entry: Entry) -> str:
    """What cells have in common that differ in their graph alone (`Row.without_graph`)."""
    if entry.plan.control.name:
        return ""
    free = tuple(f"{key}." for key in ("label", "seeds", *entry.tuned.get("chosen", {})))
    rest = {k: v for k, v in flatten(entry.config).items() if not GRAPH.match(k) and not f"{k}.".startswith(free)}
    text = json.dumps([rest, entry.tuned.get("trials", 0)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_single(plan: Plan) -> bool:
    """Whether a model sees one modality only, and no encoding of the graph."""
    modalities = plan.data.modalities
    return len(modalities) == 1 and modalities[0] != "structure" and not plan.control.name


def _row(store: Store, entry: Entry, names: dict[str, str]) -> Row:
    """The row of a cell; one without values where a file of the cell is damaged, and says which."""
    label, placement = placed(entry.label, entry.plan)
    about = dict(
        label=label,
        placement=placement,
        data=names[problem(entry.plan.data)],
        protocol=entry.plan.protocol,
        setting=entry.plan.data.setting or "default",
        chosen=entry.tuned.get("chosen", {}),
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
    """Such as "1, 4 diverged at epoch 2" of {seed: epoch}."""
    at = {e: ", ".join(str(s) for s in sorted(epochs) if epochs[s] == e) for e in sorted(set(epochs.values()))}
    return "; ".join(f"{seeds} diverged at epoch {epoch}" for epoch, seeds in at.items())


def _tested(rows: list[np.ndarray], scored: list[Scored]) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """The test rows that all seeds share and their influence {metric: [S, N]}; None and {} where there are none."""
    if not rows or any(not np.array_equal(own, rows[0]) for own in rows):
        return None, {}
    return rows[0], influence.of_shared_rows(scored)


def _met(test: measured.Measured) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """The rows that some seed tests and their mean influence {metric: [M]}, of splits with more test than training rows
    (`results.differences`); None and {} for others."""
    if not test.rows or np.mean([len(rows) for rows in test.rows]) <= np.mean(test.trained):
        return None, {}
    return influence.over_seeds(test.rows, [metrics.influences([own]) for own in test.scored])


def problem(part: DataPlan) -> str:
    """What makes two cells' data different problems: rows that differ in this are not in one table."""
    return json.dumps([part.name, part.options], sort_keys=True)


def data_names(parts: Sequence[DataPlan]) -> dict[str, str]:
    """{variant: its name}: the data set's own, with options where the study has several variants of it.

    A file outside is named without its folder, unless another has the same name; so too a folder of tables.
    """
    variants = {problem(part): part for part in parts}
    every, named = {_origin(part) for part in variants.values()}, {}
    for own, part in variants.items():
        place, where = _origin(part), _where(part)
        short_of = pathlib.PurePath(place).name if where else short(place)
        name = short_of if sum(pathlib.PurePath(p).stem == pathlib.PurePath(place).stem for p in every) == 1 else place
        given = ", ".join(f"{k}={short(v)}" for k, v in sorted(part.options.items()) if k not in where)
        alone = sum(_origin(other) == place for other in variants.values()) == 1
        named[own] = name if alone or not given else f"{name} ({given})"
    return named


def _where(part: DataPlan) -> list[str]:
    """The options that say where a data set of the package lies, and are given."""
    return [] if zoo.is_path(part.name) else [option for option in places(part.name) if part.options.get(option)]


def _origin(part: DataPlan) -> str:
    """What names a data set: the folder of the user's own, else its file."""
    return next((str(part.options[option]) for option in _where(part)), part.name)


def _has_edges(plan: Plan) -> bool:
    """Whether a model looks at edges: through its graph layers, its encoders or its fusion."""
    readers = (("encoder", plan.model.encoder), ("fusion", plan.model.fusion))
    return plan.uses_edges or any("graph" in zoo.get(kind, part.name).info.needs for kind, part in readers)


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

    average = _average([r for r, _ in at])
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
        seeds=tuple(seeds),
        tested=first.tested if shared else None,
        influence={m: np.stack([r.influence[m][i] for r, i in at]) for m in known},
        variant=plain,
        met_influence=average,
        looks=tuple(n for n in first.looks if all(n in r.looks for r, _ in group)),
        **{field: picked(field) for field in ("train_rows", "test_rows", "splits")},
    )


def _average(chosen: list[Row]) -> dict[str, np.ndarray]:
    """The mean of what the rows, one a seed, say of the rows that seeds test: as near as it is known."""
    first = chosen[0]
    if any(r.met is None or not np.array_equal(r.met, first.met) for r in chosen):
        return {}
    shared = (m for m in first.met_influence if all(m in r.met_influence for r in chosen))
    return {m: np.mean([r.met_influence[m] for r in chosen], 0) for m in shared}


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
        keys = sorted(differing - {"label", "seeds", "data.modalities"})
        labels.append(", ".join([row.label, *differences(keys, own, like)]))
    return labels


def _place(row: Row) -> tuple[str, ...]:
    return row.data, row.placement, row.protocol, row.setting


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Student t interval of the mean over seeds; the mean itself twice where there is one seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, mean
    half = special.stdtrit(len(values) - 1, (1 + level) / 2) * np.std(values, ddof=1) / np.sqrt(len(values))
    return mean - half, mean + half


def of_rows(row: Row, metric: str) -> tuple[float, float] | None:
    """95 % interval of a metric if the fixed test rows were drawn anew: Wilson's for a share of right rows (of the mean
    over seeds, as if it were one predictor's), by the influence of each row for others; None where it is not known."""
    if row.tested is None or metric not in row.influence:
        return None
    mean = float(np.mean(row.values[metric]))
    if metrics.named(metric).share:
        return influence.wilson(mean, len(row.tested))
    half = influence.half_width(row.influence[metric].mean(0))
    return mean - half, mean + half


def cell_text(row: Row, metric: str, *, percent: bool = False) -> str:
    """Mean and sample standard deviation, "0.716 ± 0.020"; the mean alone for one seed, a dash where there is nothing.

    The mean alone too where all seeds of a control, or on fixed test rows, give the same: they are one fit, and how
    sure it is does not show in their spread.

    Args:
        percent: whether a metric between 0 and 1 is told in percent, "71.6 ± 2.0".
    """
    scale, digits = scaling(metric, percent)
    if metric in row.published:
        mean, sd = row.published[metric]
        digits = digits if percent else 3
        return f"{scale * mean:.{digits}f}" + ("" if sd is None else f" ± {scale * sd:.{digits}f}")
    values = row.values.get(metric)
    if values is None or not np.isfinite(values).all():
        return "-"
    mean = f"{scale * values.mean():.{digits}f}"
    one_fit = (row.tested is not None or row.placement == "-") and (values == values[0]).all()
    return mean if len(values) < 2 or one_fit else f"{mean} ± {scale * values.std(ddof=1):.{digits}f}"


def scaling(metric: str, percent: bool) -> tuple[int, int]:
    """By what a metric's values are multiplied, and the digits behind the point."""
    named = metrics.named(metric)
    return (100, max(named.digits - 2, 1)) if percent and named.fraction else (1, named.digits)


def grouped(table: list[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows by data set and task, in order; cells without a result go with the data set they name."""
    tasks = {row.data: row.task for row in table if row.values or row.published}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in table:
        task = row.task if row.values or row.published else tasks.get(row.data, row.task)
        groups.setdefault((row.data, task), []).append(row)
    return groups


def columns(group: list[Row]) -> list[str]:
    """The metrics shown for a group: those of its table that some row has."""
    return metrics.shown((m for row in group for m in (*row.values, *row.published)), group[0].table)
