"""One call from data to a finished study: every fusion at every placement, with the rows that put them into proportion.

What it trains is a study like any other, in a folder like any other: called again it goes on where it stopped, and
`fusion-jax report`, `analyse`, `merge` read it.
"""

from __future__ import annotations

import contextlib
import numbers
import os
import pathlib
import sys
import tempfile
import types
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console

from fusion_jax import folders, study, zoo
from fusion_jax.api.loaded import Loaded, Named, loaded
from fusion_jax.api.study import Study
from fusion_jax.data import Dataset
from fusion_jax.results import report
from fusion_jax.results.claims import resolved
from fusion_jax.results.compare import BASELINE
from fusion_jax.results.lock import exclusive
from fusion_jax.results.store import Store
from fusion_jax.run.display.base import chosen, named
from fusion_jax.run.engines.base import Outcome
from fusion_jax.run.listeners import Listeners
from fusion_jax.run.sweep import run
from fusion_jax.run.workers import default_workers
from fusion_jax.study import Cell, Claim, Tuning, defaults
from fusion_jax.study.tuning import untuned
from fusion_jax.training.compilation import check_platform, use_cache

FUSIONS = ("concat_linear", "concat_mlp", "mean", "gmu", "self_attention", "lmf")
PLACEMENTS = ("before", "after")
ALL_PLACEMENTS = ("before", "after", "interleaved", "decision")
Source = Dataset | str | os.PathLike | Named
FusionNamed = str | os.PathLike | Named


def ablate(
    data: Source | Sequence[Source],
    fusions: Iterable[FusionNamed] = FUSIONS,
    placements: Iterable[str] = PLACEMENTS,
    *,
    seeds: int = 10,
    workdir: str | os.PathLike | None = None,
    baseline: str = BASELINE,
    controls: bool = True,
    claims: Sequence[Claim | Mapping[str, Any]] = (),
    tune: Tuning | Mapping[str, Sequence] | None = None,
    config: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    progress: bool = True,
    **keys: Any,
) -> Study:
    """Trains every fusion at every placement on the same splits and says which is better, by how much, how surely.

    A fusion is trained at those of the placements where it can stand, the baseline with them. What a folder holds
    already is not trained again.

    Args:
        data: a `Dataset`, a data set's name, (name, options), a folder of tables; or a list of several.
        fusions: names, paths of files of your own (`mine.py`), or (name, {option: value}).
        placements: of "before", "after", "interleaved", "decision": where relative to the graph layers.
        seeds: trials of every row, each with a split of its own.
        workdir: the results folder; None for one in the user's cache that belongs to the data, which is said.
        baseline: the fusion that the others are compared with, trained too if it is not among them.
        controls: whether to add rows without fusion: no graph, graph alone, label propagation, where they exist.
        claims: what the study is to decide, `study.Claim` or dicts of its fields; kept before the first epoch.
        tune: how every row is tuned, with one budget: a space {dotted key: values} or what `study.tuning.tune` returns;
            None for not at all.
        config: {dotted key: value} of any key of a study, such as {"training.epochs": 50}.
        jobs: rows trained at a time; None for what suits the machine.
        progress: whether to say how far it is.
        keys: the same as `config` with two underscores for a dot, `training__epochs=50`.
    Returns:
        the study, read from its folder.
    Raises:
        ValueError: an unknown fusion, placement, key or option, naming the nearest; a fusion that can stand at none of
            the placements; data that are not valid.
        TypeError: data of no known form.
        FileNotFoundError: no such file or folder.
        OSError: the results folder cannot be written, or another process writes to it.
    """
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, numbers.Integral) or jobs < 1):
        raise ValueError(f"jobs={jobs!r}; expected a whole number, at least 1, or None")
    sources = [loaded(source) for source in (data if isinstance(data, list) else [data])]
    if not sources:
        raise ValueError("data is empty, expected at least one data set")
    place = _place(workdir, sources)
    fusions = [_fusion(fusion) for fusion in _listed(fusions, "fusions")]
    placements = _placements(placements)
    changes = {**(config or {}), **{key.replace("__", "."): value for key, value in keys.items()}}
    told = dict(seeds=seeds, baseline=baseline, controls=controls, changes=changes, tune=tune)
    cells = [cell for source in sources for cell in _cells(source, fusions, placements, **told)]
    claimed = study.claims_of(types.SimpleNamespace(claims=lambda: list(claims)))
    resolved(claimed, cells)  # a row that is not there is said before anything is trained
    for doubt in study.alike(cells):
        warnings.warn(doubt, stacklevel=2)
    check_platform()
    use_cache()
    store = Store(place, create=True)
    given = {source.name: source.data for source in sources if source.given}
    with exclusive(store.root):
        failed = _train(cells, store, jobs, progress, datasets=given, claims=claimed)
        label = _label(store, baseline)
        report.write(store, baseline=label)
    if failed:
        warnings.warn(f"{len(failed)} of {len(cells)} rows failed: {'; '.join(failed)}", stacklevel=2)
    return Study(store.root, baseline=label, datasets=given)


def _train(cells: Sequence[Cell], store: Store, jobs: int | None, shown: bool, **told: Any) -> list[str]:
    """Runs the cells that are not finished; returns of those that failed the name and why."""
    console, failed = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200), []
    workers = default_workers() if jobs is None else jobs
    if shown:
        print(f"results: {os.fspath(store.root)}")
    display = zoo.get("display", chosen("auto", console) if shown else "none")
    with contextlib.closing(Listeners([display(console)])) as heard:

        def loaded(data: Dataset) -> None:
            if shown and data.conversion is not None:  # made from tables: what was joined, dropped and doubtful
                print(data.conversion.text())

        def done(outcome: Outcome, problem: str) -> None:
            heard.done(outcome, problem)
            if outcome.result is None:
                failed.append(f"{named(outcome.job.cell)}: {outcome.error}")

        try:
            run(
                cells,
                store,
                "fusion_jax.ablate",
                engine="threads" if workers > 1 else "serial",
                workers=workers,
                loaded=loaded,
                begin=heard.begin,
                progress=heard.progress,
                done=done,
                **told,
            )
        except KeyboardInterrupt:
            heard.interrupted()
            raise
        heard.end()
    return failed


def _label(store: Store, baseline: str) -> str:
    """What the baseline is called in tables; the default's name, which need not be there, where it has no result."""
    label = zoo.short(baseline)
    finished = {untuned(cell["label"]) for cell in store.read_study()["cells"] if store.finished_seeds(cell["id"])}
    return label if label in finished else BASELINE


def _cells(
    source: Loaded,
    fusions: Sequence[Named],
    placements: Sequence[str],
    *,
    seeds: int,
    baseline: str,
    controls: bool,
    changes: Mapping[str, Any],
    tune: Any,
) -> list[Cell]:
    """The rows on one data set, in the order of placements and fusions, then the controls."""
    made = defaults.get_config()
    if not source.data.graphs:  # messages have no way to pass: the layers are there, without edges
        made.model.layer.name = "none"
    for key, value in {**source.config, "seeds": seeds, **changes}.items():
        study.set_key(made, key, value)
    first = _fusion(baseline)
    every = fusions if any(name == first[0] for name, _ in fusions) else [first, *fusions]
    for name, _ in fusions:
        can = zoo.get("fusion", name).placements
        if not set(can) & set(placements):
            where = f"can stand at {', '.join(can)}, not at {', '.join(placements)}"
            raise ValueError(f"fusion {zoo.short(name)!r} {where} (placements)")

    def sweep(add):
        for placement in placements:
            for name, options in every:
                if placement in zoo.get("fusion", name).placements:
                    named = {"model.fusion.name": name, "model.fusion.options": options}
                    add({**named, "model.placement": placement})
        if controls:
            _add_controls(add, source.data, first[0])

    return study.expand(made, sweep, tune=tune)


def _add_controls(add, data: Dataset, baseline: str) -> None:
    """Rows that see less: no edges, or nothing but edges."""
    if not data.graphs:
        return
    named = {"model.fusion.name": baseline, "model.placement": "before"}
    if "before" in zoo.get("fusion", baseline).placements:
        add({**named, "model.layer.name": "none", "model.layers": 1}, label=f"{zoo.short(baseline)}, no graph")
    if data.target.level == "node":
        add({"data.modalities": ("structure",), "model.fusion.name": "mean"}, label="graph only (no features)")
    if data.target.words == "classes of nodes":
        add({"control.name": "label_propagation"})


def _listed(given: Any, what: str) -> list:
    """A list of what is asked for; a single name is a list of one."""
    found = [given] if isinstance(given, str | os.PathLike | tuple) and not _is_many(given) else list(given)
    if not found:
        raise ValueError(f"{what} is empty, expected at least one")
    return found


def _is_many(given: Any) -> bool:
    return isinstance(given, tuple) and not (len(given) == 2 and isinstance(given[1], Mapping))


def _fusion(given: FusionNamed) -> Named:
    """Name and options of a fusion.

    Raises:
        ValueError: unknown, naming the nearest; or a class, which has no file to be known by.
    """
    if isinstance(given, type):
        raise ValueError(
            f"fusions holds the class {given.__name__}, expected its name or file: results are kept under what a file "
            f"says, so write it to one (in a notebook: %%writefile mine.py) and name its path"
        )
    name, options = given if isinstance(given, tuple) else (given, {})
    name = zoo.absolute(os.fspath(name))
    zoo.check_options("fusion", name, dict(options))
    return name, dict(options)


def _placements(given: Iterable[str]) -> list[str]:
    found = _listed(given, "placements")
    for placement in found:
        if placement not in ALL_PLACEMENTS:
            near = zoo.nearest(placement, ALL_PLACEMENTS)
            raise ValueError(f"no placement {placement!r}{near}; there are: {', '.join(ALL_PLACEMENTS)}")
    return found


def _place(workdir: str | os.PathLike | None, sources: Sequence[Loaded]) -> str:
    """The results folder; without a name one that the same data find again."""
    if workdir is not None:
        if not os.fspath(workdir):
            raise ValueError("workdir=''; expected the results folder, or None for one in the user's cache")
        return os.fspath(workdir)
    names = [f"{zoo.short(source.name)}-{source.data.fingerprint[:8]}" for source in sources]
    base = folders.user_cache() or pathlib.Path(tempfile.gettempdir()) / "fusion_jax"
    clean = "".join(c if c.isalnum() or c in "-_." else "_" for c in "+".join(names))
    return os.fspath(base / "studies" / clean[:120])
