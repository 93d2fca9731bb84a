"""F, a whole study: ours as a user runs it, and the plain PyTorch Geometric script of the same rows.

Ours is `experiments.sweep` in a process of its own, which loads the data, compiles, trains, stores, compares and
reports; `cold` with an empty compilation cache, else with the one that a first run has left. The script only trains: it
is given the data, draws nothing into tables, stores nothing, and leaves out the controls. It is one process of one
thread a core, as ours is, whose rows are shared out.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from .cases import Study
from .timing import Ready


def ours(case: Study, path: pathlib.Path) -> Ready:
    """The command, run as a user does; the rows and their data are handed over first."""
    if not case.alone:
        _hand_over(case, path)
    cache = path.parent / "xla"
    if not case.cold:
        _command(case, cache)

    def run() -> float:
        if case.cold:
            shutil.rmtree(cache, ignore_errors=True)
        return _command(case, cache)

    return Ready(run, {})


def _package() -> str:
    return __package__.rpartition(".")[0]  # of the commands: another one where they are installed


def _file(case: Study) -> pathlib.Path:
    configs = "configs" if _package() == "experiments" else "fusion_jax.configs"
    return pathlib.Path(importlib.import_module(f"{configs}.{case.study}").__file__)


def _command(case: Study, cache: pathlib.Path) -> float:
    numbers = dict(seeds=case.seeds) | ({"training.epochs": case.epochs} if case.epochs else {})
    flags = [f"--config.{key}={value}" for key, value in numbers.items()]
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", f"{_package()}.sweep", f"--config={_file(case)}", f"--workdir={folder}/study"]
        start = time.perf_counter()
        done = subprocess.run([*command, *flags], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"the study ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    return seconds


def _hand_over(case: Study, path: pathlib.Path) -> None:
    """{i/...}: of every row with a model what the script reads."""
    from fusion_jax import study
    from fusion_jax.run.sweep import data_key, load_all
    from fusion_jax.training.prepare import select_modalities, split_of

    module = study.load(str(_file(case)))
    cells = [cell for cell in study.expand(module.get_config(), module.sweep) if not cell.plan.control.name]
    loaded, held = load_all(cells), {}
    for i, cell in enumerate(cells):
        plan, data = cell.plan, loaded[data_key(cell)]
        if isinstance(data, Exception):
            raise data
        features, mask = select_modalities(data, plan.data.modalities, plan.data.graph)
        edges = data.graphs[plan.data.graph or data.default_graph]
        own = {f"x{m}": x for m, x in enumerate(features.values())}
        own |= dict(mask=mask, edges=np.stack([edges.senders, edges.receivers]), labels=data.target.labels)
        for seed in range(case.seeds):
            split = split_of(data, seed, per_seed=plan.per_seed, protocol=plan.protocol)
            own |= {f"train{seed}": split.train, f"val{seed}": split.val, f"test{seed}": split.test}
        model, training = plan.model, plan.training
        own |= dict(
            label=cell.label,
            fusion=model.fusion.name,
            placement=model.placement,
            layers=model.layers if plan.uses_edges else 0,
            dim=model.dim,
            rate=model.rate,
            outputs=data.target.num_outputs,
            rank=dict(model.fusion.options).get("rank", 0),
            learning_rate=plan.optimizer.learning_rate,
            weight_decay=dict(plan.optimizer.options)["weight_decay"],
            epochs=case.epochs or training.epochs,
            patience=training.patience,
            every=training.select_every,
        )
        held |= {f"{i}/{key}": value for key, value in own.items()}
    np.savez(path, **held)


def rows_of(held: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """What was handed over, a row of the study each; single values as Python has them."""
    found: dict[int, dict[str, Any]] = {}
    for name, value in held.items():
        i, _, key = name.partition("/")
        found.setdefault(int(i), {})[key] = value.item() if value.ndim == 0 else value
    return [found[i] for i in sorted(found)]
