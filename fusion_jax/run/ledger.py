"""Runs or resumes studies of claims one after another, each in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etils import epath

from fusion_jax.results.lock import exclusive
from fusion_jax.results.store import Store
from fusion_jax.run.engines.base import Outcome
from fusion_jax.run.sweep import run
from fusion_jax.study import published
from fusion_jax.study.claim_files import ClaimStudy

Said = Callable[[ClaimStudy, str], None]


def run_studies(
    studies: Sequence[ClaimStudy],
    workdir: str | os.PathLike,
    *,
    begun: Callable[[ClaimStudy, int], None] = lambda study, waiting: None,
    done: Callable[[ClaimStudy, Outcome, str], None] = lambda study, outcome, problem: None,
    **options: Any,
) -> dict[str, str]:
    """Runs what is not finished; returns {system: why it could not be run} of those that could not.

    A study that cannot be run (its data set is not there, say) stops no other.

    Args:
        begun: called with every study and the number of its cells that are to be run.
        done: called with every outcome, see `run.sweep.run`.
        options: engine, workers, progress, loaded of `run.sweep.run`.
    """
    failed = {}
    for study in studies:
        try:
            store = Store(epath.Path(workdir) / study.system, create=True)
            with exclusive(store.root):
                run(
                    study.cells,
                    store,
                    study.source,
                    published=published(study.module),
                    claims=study.claims,
                    begin=lambda cells, waiting, study=study: begun(study, waiting),
                    done=lambda outcome, problem, study=study: done(study, outcome, problem),
                    **options,
                )
        except (ValueError, OSError, ImportError) as error:
            failed[study.system] = " ".join(str(error).split())
    return failed


def stores_of(studies: Sequence[ClaimStudy], workdir: str | os.PathLike) -> Mapping[str, Store]:
    """{system: the folder of its study} of those that were begun."""
    found = {study.system: epath.Path(workdir) / study.system for study in studies}
    return {system: Store(path) for system, path in found.items() if (path / "study.json").exists()}
