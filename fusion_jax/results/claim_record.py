"""Claims as a study holds them: written before the first epoch with their hash, and what was changed since.

study.json has every version of the claims with its sha256 and with how many seeds had finished by then. What every
training depended on (environment.json, whose hash its cell keeps) has the sha256 that stood there when it was stored:
a version that was changed together with its hash is one that no training knows.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fusion_jax.folders import Damaged
from fusion_jax.results.store import CLAIMED, Store
from fusion_jax.study import Claim


def digest(claims: Sequence[Mapping[str, Any]]) -> str:
    """sha256 of the claims as canonical JSON: keys sorted, no spaces."""
    text = json.dumps(list(claims), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def record(store: Store, claims: Sequence[Claim]) -> None:
    """Writes the resolved claims of a study into its study.json, as a further version if they are not those there."""
    study = store.read_study()
    if states(study, claims):
        return
    versions, plain = list(study.get("claims", ())), [dataclasses.asdict(claim) for claim in claims]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    versions.append(dict(sha256=digest(plain), written=now, finished_seeds=store.count_finished(), claims=plain))
    store.amend(claims=versions)


def states(study: Mapping[str, Any], claims: Sequence[Claim]) -> bool:
    """Whether a study, `Store.read_study()`, states these claims now."""
    versions = study.get("claims", ())
    return (versions[-1]["claims"] if versions else []) == [dataclasses.asdict(claim) for claim in claims]


def trained(store: Store, study: Mapping[str, Any]) -> dict[str, int]:
    """{sha256 of claims: how many seeds of the study's cells were trained with them in study.json}; "" for no claims.

    Trainings of older revisions, which did not say, and of cells that are damaged do not count.

    Args:
        study: `Store.read_study()`.
    """
    found: collections.Counter[str | None] = collections.Counter()
    for cell in study["cells"]:
        try:
            if store.finished_seeds(cell["id"]):
                parts = [seeds for _, seeds in store.parts(cell["id"])]
                for seeds, about in zip(parts, store.environments(cell["id"]), strict=True):
                    found[about.get(CLAIMED)] += len(seeds)
        except Damaged:  # its row says so
            continue
    return {sha256: seeds for sha256, seeds in found.items() if sha256 is not None}


def changes(study: Mapping[str, Any], trained: Mapping[str, int]) -> list[str]:
    """What there is to say of how the claims came about: those written or withdrawn when seeds had finished, those that
    are not what was written then, and trainings that knew others.

    Args:
        study: `Store.read_study()`.
        trained: of `trained`.
    """
    versions, said = study.get("claims", ()), []
    for version in versions:
        if not as_written(version):
            said.append(
                f"the claims of {version['written']} were changed in study.json after they had been written: their "
                f"sha256 is {digest(version['claims'])[:12]}, {version['sha256'][:12]} was written"
            )
    for sha256, seeds in trained.items():
        if sha256 and sha256 not in {version["sha256"] for version in versions}:
            said.append(
                f"{seeds} seeds were trained when study.json held other claims, sha256 {sha256[:12]}, which are not in "
                "it any more"
            )
    for i, (before, version) in enumerate(zip(({"claims": []}, *versions), versions, strict=False)):
        seeds = _finished(versions, i, trained)
        if seeds > version["finished_seeds"]:
            said.append(
                f"the claims of {version['written']} say that {version['finished_seeds']} seeds had finished or begun; "
                f"{seeds} were trained with claims before them"
            )
        if not seeds:
            continue
        at = f"when {seeds} seeds had finished or begun ({version['written']})"
        for verb, some, others in (("written", version, before), ("withdrawn or changed", before, version)):
            said += [f"claim {c['claim']!r} was {verb} {at}" for c in some["claims"] if c not in others["claims"]]
    return said


def late(claim: Mapping[str, Any], versions: Sequence[Mapping[str, Any]], now: int, trained: Mapping[str, int]) -> int:
    """How many seeds had finished when the claim was first written, since it was last there without a break.

    At most: of a version that is not what was written, the `now` that have by now; and no fewer than were `trained`
    with versions before, or when study.json held claims that it does not hold any more.
    """
    found = 0
    for i, (before, version) in enumerate(zip(({"claims": []}, *versions), versions, strict=False)):
        if claim in version["claims"] and claim not in before["claims"]:
            found = _finished(versions, i, trained) if as_written(version) else now
    known = {"", *(version["sha256"] for version in versions)}
    return max(found, sum(seeds for sha256, seeds in trained.items() if sha256 not in known))


def _finished(versions: Sequence[Mapping[str, Any]], i: int, trained: Mapping[str, int]) -> int:
    """How many seeds had finished when version i was written: no fewer than those before, or none, alone knew."""
    before, since = ({version["sha256"] for version in part} for part in (versions[:i], versions[i:]))
    before |= {""}  # of trainings before there was any
    return max(versions[i]["finished_seeds"], sum(trained.get(sha256, 0) for sha256 in before - since))


def stated(study: Mapping[str, Any]) -> dict[str, str]:
    """sha256 of the claims that a study states now and when they were written, "" without any."""
    versions = study.get("claims", ())
    return {name: versions[-1][name] if versions else "" for name in ("sha256", "written")}


def as_written(version: Mapping[str, Any]) -> bool:
    """Whether the claims of a version are those that were hashed."""
    return digest(version["claims"]) == version["sha256"]
