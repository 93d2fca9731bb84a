"""The ledger: what became of the claims of many papers, corrected for how many of them there are."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from fusion_jax.results import measured_rows, tables
from fusion_jax.results.claim_record import changes, stated, states, trained
from fusion_jax.results.claims import Answered, answer_all, resolved
from fusion_jax.results.differences import difference
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store
from fusion_jax.study.claim_files import ClaimStudy


@dataclasses.dataclass(frozen=True)
class Compared:
    """The two rows of a claim on one data set.

    Attributes:
        better, than: the rows.
        metric: by which.
        mean, low, high: the difference, and its 95 % interval.
        seeds: how many both have.
    """

    better: Row
    than: Row
    metric: str
    mean: float
    low: float
    high: float
    seeds: int


@dataclasses.dataclass(frozen=True)
class Line:
    """One claim of the ledger.

    Attributes:
        study: the file that it stands in.
        answered: its verdict, with p after Holm over the ledger.
        compared: its rows on every data set that it is about; () where none has results.
        sha256, written: of the claims of its study, as they were hashed; "" of a study that was not begun.
        changed: what was changed behind that, see `claims.changes`.
        seconds: what all cells of the study took: training and compilation of every seed, controls whole,
            and what is measured on them.
    """

    study: ClaimStudy
    answered: Answered
    compared: tuple[Compared, ...]
    sha256: str
    written: str
    changed: tuple[str, ...]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Ledger:
    """All lines, and what the results depended on.

    Attributes:
        lines: in the order of the studies.
        lacking: {system: why it has no line}.
        revisions, machines: of the cells that were read; None stands for no checkout.
    """

    lines: tuple[Line, ...]
    lacking: dict[str, str]
    revisions: tuple[str | None, ...]
    machines: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """How many claims hold, fail and are undecided, and how many would by themselves."""
        if not self.lines:
            return "No claim was tested."
        counts = collections.Counter(line.answered.verdict for line in self.lines)
        alone = collections.Counter(line.answered.alone for line in self.lines)
        told = ", ".join(_told(verdict, counts[verdict]) for verdict in WORDS if counts[verdict])
        systems = len({line.study.system for line in self.lines})
        said = f"Of {_many(len(self.lines), 'claim')} of {_many(systems, 'paper')} {told}"
        before = f"; before it {_told('holds', alone['holds'])} and {_told('fails', alone['fails'])}"
        return f"{said} (5 % after Holm over all of them{before if alone != counts else ''})."


WORDS = {"holds": ("holds", "hold"), "fails": ("fails", "fail"), "undecided": ("is undecided", "are undecided")}


def _told(verdict: str, count: int) -> str:
    return f"{count} {WORDS[verdict][count != 1]}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def ledger(studies: Sequence[ClaimStudy], stores: Mapping[str, Store]) -> Ledger:
    """The ledger of the studies whose folders are there.

    Args:
        stores: {system: the folder of its study}.
    Raises:
        Damaged: a file of a study is not what was written.
    """
    begun = [study for study in studies if study.system in stores]
    lacking = {study.system: "not run" for study in studies if study.system not in stores}
    rows = [tables.rows(stores[study.system]) for study in begun]
    answered = answer_all([(stores[study.system], found) for study, found in zip(begun, rows, strict=True)])
    lines, revisions, machines = [], {}, {}
    for study, some in zip(begun, answered, strict=True):
        store = stores[study.system]
        about = store.read_study()
        for cell in about["cells"]:
            for found in store.environments(cell["id"]) if store.finished_seeds(cell["id"]) else ():
                revisions[found.get("git_revision")] = None
                machines[f"{found['platform']}, {', '.join(dict.fromkeys(found['devices']))}"] = None
        took, told = _seconds(store), changes(about, trained(store, about))
        if not some:
            lacking[study.system] = "; ".join(["its folder states no claims", *told])
        told = (*_other(study, about), *told)
        for one in some:
            lines.append(Line(study, one, _compared(one), **stated(about), changed=told, seconds=took))
    return Ledger(tuple(lines), lacking, tuple(revisions), tuple(machines))


def _other(study: ClaimStudy, about: Mapping[str, Any]) -> list[str]:
    """Whether its file has other claims than its folder, which are those that were answered."""
    try:
        same = states(about, resolved(study.claims, study.cells, study.path, study.measured))
    except ValueError:  # they name rows that the file does not have any more
        same = False
    return [] if same else ["its file states other claims than its folder, whose claims these are"]


def _compared(one: Answered) -> tuple[Compared, ...]:
    found = []
    for a, b in one.pairs:
        metric = one.claim.metric or a.primary
        between = difference(a, b, metric)
        low, high = between.interval(0.95)
        found.append(Compared(a, b, metric, float(between.estimate.mean), float(low), float(high), len(between.seeds)))
    return tuple(found)


def _seconds(store: Store) -> float:
    found = [
        cost
        for cell in store.read_study()["cells"]
        if store.finished_seeds(cell["id"])
        for cost in store.costs(cell["id"])
    ]
    return float(sum(cost["seconds"] for cost in found)) + measured_rows.seconds(store)
