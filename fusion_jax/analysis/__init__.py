"""Analyses: questions to a finished cell or study. One mechanism a file; `analyse` asks one and writes the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etils import epath

from fusion_jax import zoo
from fusion_jax.analysis.base import SUBJECTS, Report
from fusion_jax.results import answers
from fusion_jax.results.restore import Restored, restore
from fusion_jax.results.store import Store
from fusion_jax.study import ranges

__all__ = ["analyse", "subject"]


def subject(name: str) -> str:
    """What an analysis is of, "cell" or "study".

    Raises:
        ValueError: no such analysis (names the nearest), or its file does not say.
    """
    found = getattr(zoo.module("analysis", name), "OF", None)
    if found not in SUBJECTS:
        raise ValueError(f"analysis {name!r}: OF={found!r} in its file, expected one of {SUBJECTS}")
    return found


def analyse(
    store: Store,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    cell: str | Restored | None = None,
    seed: int | None = None,
) -> tuple[Report, epath.Path]:
    """What an analysis finds, and the folder it is written to.

    The folder is `analyses/<name>` in the cell's folder, or in the study's for an analysis of a study. It has a CSV a
    table, an image a figure, report.md (the sentence, the tables, the note) and analysis.json (what was asked, and all
    of the report but its tables).

    Args:
        cell: identity of a finished cell, or the cell restored; the store's only one if None.
        seed: whose model is looked at; the one with the best validation score if None. None where an analysis is of
            all seeds.
    Raises:
        ValueError: unknown analysis or option, an option of another type, no such cell or seed, one is named for an
            analysis of a study, or what the analysis refuses.
        ImportError: there are figures, and matplotlib is not installed.
    """
    of, options = subject(name), _checked(name, options or {})
    ask, about = zoo.get("analysis", name), dict(analysis=name, options={**zoo.options("analysis", name), **options})
    if of == "study":
        if cell is not None or seed is not None:
            raise ValueError(f"analysis {name!r} is of a whole study: name neither a cell nor a seed")
        folder, report = store.root, ask(store, **options)
    else:
        everyone = getattr(zoo.module("analysis", name), "SEEDS", "one") == "all"
        if everyone and seed is not None:
            raise ValueError(f"analysis {name!r} is of all seeds of a cell: name none (found seed {seed})")
        restored = cell if isinstance(cell, Restored) else restore(store, cell)
        place = restored.place(seed)
        seeds = dict(seeds=restored.seeds) if everyone else dict(seed=restored.seeds[place])
        about |= dict(cell=restored.identity, **seeds)
        folder, report = store.cell(restored.identity), ask(restored, place, **options)
    folder = folder / "analyses" / zoo.short(name)
    answers.write(folder, report, about, "report.md", "analysis.json")
    return report, folder


def _checked(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options in the form of their defaults, as those of a mechanism in a study."""
    zoo.check_options("analysis", name, given)
    known, whole = zoo.options("analysis", name), zoo.whole("analysis", name)
    keys = {option: f"{zoo.short(name)}.{option}" for option in given}
    found = {option: ranges.option(value, known[option], keys[option]) for option, value in given.items()}
    for option, value in found.items():
        if isinstance(known[option], float) and value is not None:  # "0.1,0.2" is a tuple
            ranges.alike(value, known[option], keys[option])
    return found | {k: ranges.whole(found[k], none, keys[k]) for k, none in whole.items() if k in found}
