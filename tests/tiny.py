"""A study small enough for a test: 60 planted nodes, two modalities, some missing; and the commands in-process."""

from __future__ import annotations

import contextlib
import importlib
import io
import runpy
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from absl import flags

from configs import base
from fusion_jax import study
from fusion_jax.data import Dataset
from fusion_jax.data import load as load_data
from fusion_jax.model import Model
from fusion_jax.plan import Plan
from fusion_jax.records import Target
from fusion_jax.run.model import train_model
from fusion_jax.training.build import build_model, build_scheme
from fusion_jax.training.loop import Trained
from fusion_jax.training.prepare import Prepared, prepare

DATA = dict(nodes=60, modalities=2, classes=2, dim=6, missing=0.2, redundant=0.6, unique=0.6)
SMALL = {
    "data.name": "synthetic",
    "data.options": DATA,
    "seeds": 2,
    "model.dim": 8,
    "model.layers": 1,
    "model.fusion.name": "mean",
    "training.epochs": 6,
    "training.chunk": 3,
    "training.seed_axis": "map",
}


@contextlib.contextmanager
def as_users_run() -> Iterator[None]:
    """float32 and standard promotion in every thread: Optax itself does not pass strict promotion."""
    before = jax.config.jax_enable_x64, jax.config.jax_numpy_dtype_promotion
    jax.config.update("jax_enable_x64", False)
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before[0])
        jax.config.update("jax_numpy_dtype_promotion", before[1])


def config(**changes: Any):
    """The base config made small; keywords are dotted keys with "__" for the dot."""
    made = base.get_config()
    for key, value in {**SMALL, **{k.replace("__", "."): v for k, v in changes.items()}}.items():
        study.set_key(made, key, value)
    return made


def cell(**changes: Any) -> study.Cell:
    return study.resolve(config(**changes))


def dataset(**options: Any) -> Dataset:
    return load_data("synthetic", **{**DATA, **options})


def prepared(plan: Plan, data: Dataset, seeds: tuple[int, ...]) -> Prepared:
    """The seeds of a plan, as a run prepares them."""
    return prepare(plan.data, data, seeds, **plan.preparing)


def trained(plan: Plan, data: Dataset, seeds: tuple[int, ...], hooks: Any = None) -> Trained:
    """The seeds of a plan, trained as a run trains them."""
    return train_model(plan, data, prepared(plan, data, seeds), hooks)


def train(data: Dataset, seeds: tuple[int, ...], hooks: Any = None, **changes: Any) -> Trained:
    """A model cell's seeds; keywords as in `config`."""
    return trained(cell(**changes).plan, data, seeds, hooks)


def model(plan: Plan, data: Dataset, ready: Prepared) -> Model:
    """The plan's model of what was prepared, untrained."""
    dims = {name: x.shape[1] for name, x in ready.batch.features.items()}
    return model_of(plan, data.target, dims, jax.random.key(0))


def model_of(plan: Plan, target: Target, dims: Mapping[str, int], key: jax.Array) -> Model:
    """The plan's model of modalities of these widths, untrained."""
    return build_model(plan.model, build_scheme(plan.scheme), dims, target, key)


def command(module: str, *args: str) -> tuple[int, str]:
    """`python -m module *args` in this process: exit status and what it printed (standard error too)."""
    importlib.import_module("experiments.arguments")  # what it imports defines flags, once a process: they stay
    known, argv = set(flags.FLAGS), sys.argv
    out = io.StringIO()
    sys.argv = [module, *args]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the module was imported before
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            out.write(stop.code)
    finally:
        sys.argv = argv
        for name in set(flags.FLAGS) - known:
            delattr(flags.FLAGS, name)
        flags.FLAGS.unparse_flags()
    return status, out.getvalue()
