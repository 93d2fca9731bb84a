"""The reliability checklist of a study, filled in from what its store holds.

After "Fusion or Confusion? Multimodal Complexity Is Not All You Need" (Rheude, Eils and Wild, arXiv 2512.22991), which
ends with such a list. The list itself could not be obtained here, only the abstract, summaries and the authors' code:
the questions below are ours, one for each requirement named there (standardised conditions, rigorous tuning of all
methods, tuned unimodal and simple baselines, repeated splits, statistics, several data sets, missing modalities,
selection without test rows, code), and some that follow from them. They are not the paper's wording.

An answer is a fact of the store; what the store does not tell is "not known".
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusion_jax.results import mixture, tables
from fusion_jax.results.claim_record import changes, trained
from fusion_jax.results.compare import seeds_note
from fusion_jax.results.rendering import table as shared
from fusion_jax.results.rendering.markdown import plain
from fusion_jax.results.rendering.table import Table
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store
from fusion_jax.study import flatten

YES, NO, PARTLY, UNKNOWN = "yes", "no", "partly", "not known"
OWN = ("label", "seeds", "model.fusion.", "model.placement", "size.", "control.")  # keys in which fusions may differ
SIMPLE = ("concat_mlp", "concat_linear", "late_transformer", "late_logits", "mean")
SHOWN = 4  # of more keys or revisions the first so many are named
HEAD = """# Reliability checklist

After "Fusion or Confusion? Multimodal Complexity Is Not All You Need" (Rheude, Eils and Wild, arXiv 2512.22991): the
questions are this software's, one for each requirement that the paper's abstract names; the answers are facts of the
stored results.

| question | answer | evidence |
| --- | --- | --- |
"""


@dataclasses.dataclass(frozen=True)
class Item:
    """A question, its answer ("yes", "no", "partly", "not known"), and the facts that it follows from."""

    question: str
    answer: str
    evidence: str


def markdown(store: Store, study: Mapping[str, Any], rows: Sequence[Row], made: Sequence[Table]) -> str:
    """The checklist as a table."""
    lines = [f"| {plain(i.question)} | {i.answer} | {plain(i.evidence)} |" for i in items(store, study, rows, made)]
    return HEAD + "\n".join(lines) + "\n"


def items(store: Store, study: Mapping[str, Any], rows: Sequence[Row], made: Sequence[Table]) -> list[Item]:
    """All questions with their answers; `study` as `Store.read_study` reads it."""
    run = [row for row in rows if row.values]
    fusions = [row for row in run if row.role == "fusion"]
    found = [
        _conditions(store, fusions),
        _tuning(fusions),
        _selection(run),
        _leakage(run),
        _role("Does each modality alone stand beside the fusions?", rows, "modality"),
        _simple(fusions),
        _role("Do rows without the graph, and the graph alone, stand beside them?", rows, "no graph", "structure"),
        _role("Do models that are no networks stand beside them?", rows, "control"),
        _splits(run),
        _statistics(made),
        _data(run),
        _missing(study),
        _size(fusions),
        _cost(fusions),
        _code(store, run),
        _all_shown(rows),
        _claims(store, study),
    ]
    return found


def _conditions(store: Store, fusions: Sequence[Row]) -> Item:
    question = "Are all fusions trained under the same conditions?"
    differing: collections.Counter = collections.Counter()
    for group in tables.grouped(list(fusions)).values():
        configs = [flatten(store.config(row.cell)) for row in group if row.cell]
        tuned = {key for row in group for key in row.chosen}  # is the question after this one
        keys = {k for config in configs for k in config} - tuned
        differing.update(k for k in keys if len({repr(c.get(k)) for c in configs}) > 1 and not k.startswith(OWN))
    if len(fusions) < 2:
        return Item(question, UNKNOWN, "fewer than two fusions have a result")
    if not differing:
        return Item(question, YES, "their configs differ in the fusion, its place and its size only")
    return Item(question, PARTLY, f"they differ in {_some(sorted(differing))} too")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _tuning(fusions: Sequence[Row]) -> Item:
    question = "Is every fusion tuned with the same budget, the baseline too?"
    trials = {row.trials for row in fusions}
    if trials <= {0}:
        return Item(question, NO, "no row is tuned: all have the settings of the study file")
    if len(trials) == 1:
        return Item(question, YES, f"{trials.pop()} trials each, chosen on validation rows")
    return Item(question, NO, f"trials differ: {', '.join(map(str, sorted(trials)))}")


def _selection(run: Sequence[Row]) -> Item:
    question = "Is everything selected without test rows?"
    paper = sum(row.protocol == "paper" for row in run)
    if not paper:
        return Item(question, YES, "protocol honest: epochs (and tuned values) are chosen on validation rows")
    text = f"{paper} of {len(run)} rows have protocol paper: selected on test rows"
    return Item(question, PARTLY if paper < len(run) else NO, text)


def _leakage(run: Sequence[Row]) -> Item:
    settings = sorted({row.setting for row in run if row.setting})
    paper = any(row.protocol == "paper" for row in run)
    text = "protocol paper does what the cited code does"
    if not paper:
        text = "scalers and imputation are fitted on training rows; labels of other rows never reach the device"
    text += f"; setting {', '.join(settings) or 'default'}"
    return Item("Is nothing learned from validation and test rows?", NO if paper else YES, text)


def _role(question: str, rows: Sequence[Row], *roles: str) -> Item:
    run = [row for row in rows if row.values]
    by_data: dict[str, set[str]] = {row.data: set() for row in run}
    names = dict.fromkeys(row.name for row in run if row.role in roles)
    for row in run:
        by_data[row.data] |= {row.role} & set(roles)
    whole = [data for data, there in by_data.items() if there == set(roles)]
    answer = YES if by_data and len(whole) == len(by_data) else PARTLY if names else NO
    waiting = dict.fromkeys(row.name for row in rows if row.role in roles and not row.values)
    lacks = f"planned, without a result: {_some(list(waiting))}" if waiting else "there are none"
    return Item(question, answer, _some(list(names)) if names else lacks)


def _simple(fusions: Sequence[Row]) -> Item:
    there = dict.fromkeys(row.fusion for row in fusions if row.fusion in SIMPLE)
    text = f"{', '.join(there)}; differences are against the baseline" if there else f"none of {', '.join(SIMPLE)}"
    return Item("Is there a simple multimodal baseline?", YES if there else NO, text)


def _splits(run: Sequence[Row]) -> Item:
    question = "Are results repeated over seeds and splits?"
    if not run:
        return Item(question, UNKNOWN, "no row has a result")
    counts = [len(next(iter(row.values.values()))) for row in run]
    fixed = sum(row.tested is not None for row in run)
    how = "splits are drawn anew for every seed" if not fixed else f"{fixed} of {len(run)} rows have fixed test rows"
    few = seeds_note(min(counts))
    spread = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(max(counts))
    text = f"{spread} seeds; {how}" + (f"; {few}" if few else "")
    return Item(question, NO if min(counts) < 2 else PARTLY if few or fixed else YES, text)


def _statistics(made: Sequence[Table]) -> Item:
    question = "Are differences tested, paired and corrected?"
    compared = [c for table in made for c in table.compared.get(table.lead, {}).values()]
    known = [c for c in compared if np.isfinite(c.p)]
    if not known:
        return Item(question, NO, "no two rows can be compared")
    methods = _some(shared.told_once(known))
    number = sum(table.corrected.get(table.lead, 0) for table in made)
    text = f"{number} comparisons with the baseline, paired by seed ({methods}), Holm over the rows of a data set"
    return Item(question, YES if len(known) == len(compared) else PARTLY, text)


def _data(run: Sequence[Row]) -> Item:
    names = list(dict.fromkeys(row.data for row in run))
    answer = YES if len(names) > 2 else PARTLY if len(names) == 2 else NO
    text = f"{len(names)}: {_some(names)}" if names else "none has a result"
    return Item("Are there several data sets?", answer, text)


def _missing(study: Mapping[str, Any]) -> Item:
    question = "Are modalities missing at some rows, as in use?"
    asked = [cell["config"]["data"] for cell in study["cells"]]
    shares = [part.get("options", {}).get("missing") for part in asked]
    shares += [part.get("missing", {}).get("options", {}).get("rate") for part in asked]
    told = sorted({share for share in shares if isinstance(share, int | float) and share > 0})
    if told:
        return Item(question, YES, f"shares that are taken away: {', '.join(f'{share:g}' for share in told)}")
    return Item(question, UNKNOWN, "no data set is asked to take any away; what their files lack is not stored")


def _size(fusions: Sequence[Row]) -> Item:
    question = "Are models of about the same size?"
    ratios = []
    for group in tables.grouped(list(fusions)).values():
        sizes = [row.parameters for row in group if row.parameters]
        ratios += [max(sizes) / min(sizes)] if len(sizes) > 1 else []
    if not ratios:
        return Item(question, UNKNOWN, "fewer than two fusions tell their size")
    text = f"the largest fusion has {max(ratios):.1f} times the parameters of the smallest of its data set"
    return Item(question, YES if max(ratios) <= 1.25 else NO, text)


def _cost(fusions: Sequence[Row]) -> Item:
    told = [c for c in shared.COSTS if any(getattr(row, c) is not None for row in fusions)]
    heads = ", ".join(shared.COST_HEADS[c] for c in told)
    return Item("Is the cost reported?", YES if told else NO, heads or "nothing is recorded")


def _code(store: Store, run: Sequence[Row]) -> Item:
    question = "Is the code's revision recorded, and one for all rows?"
    every = {mixture.revision(e) for row in run if row.cell for e in store.environments(row.cell)}
    dirty = any("changed files" in revision for revision in every)
    answer = UNKNOWN if not every else YES if len(every) == 1 and not dirty else PARTLY
    return Item(question, answer, _some(sorted(every)) or "no row tells it")


def _all_shown(rows: Sequence[Row]) -> Item:
    ours = [row for row in rows if not row.published]
    lost = [row.name for row in ours if not row.values]
    partly = [row.name for row in ours if row.values and row.cell and row.label != row.name]
    parts = [f"without a result: {_some(lost)}"] * bool(lost) + [f"lack seeds: {_some(partly)}"] * bool(partly)
    text = "; ".join(parts) or f"all {len(ours)} rows of the study are in the tables, with all their seeds"
    return Item("Are all rows that were planned reported?", PARTLY if parts else YES, text)


def _claims(store: Store, study: Mapping[str, Any]) -> Item:
    question = "Were the claims written down before training?"
    versions = study.get("claims", ())
    held, late = versions[-1]["claims"] if versions else (), changes(study, trained(store, study))
    if not held:
        return Item(question, NO, "the study states no claims")
    text = f"{len(held)} in study.json, sha256 {versions[-1]['sha256'][:10]}"
    return Item(question, PARTLY if late else YES, f"{text}; {_some(late)}" if late else text)
