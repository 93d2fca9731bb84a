"""How long the report of a large study takes: writes the store of one that was never trained, and reports it.

    python -m experiments.bench_report --workdir=/tmp/large              # 300 cells x 10 seeds, 1000 nodes each
    python -m experiments.bench_report --workdir=/tmp/large --cells=60 --nodes=5000
    python -m experiments.bench_report --workdir=/tmp/large --profile    # what the time goes into

The cells are fusions in placements on several data sets, their predictions are drawn; a folder that holds a study is
reported as it is. Seconds are of the report alone, without imports.
"""

from __future__ import annotations

import cProfile
import itertools
import pstats
import time

import numpy as np
import pandas as pd
from absl import flags

from fusion_jax import zoo
from fusion_jax.results import report
from fusion_jax.results.store import Store
from fusion_jax.study import Cell, defaults, resolve

from . import arguments

FLAGS = flags.FLAGS
CLASSES, EPOCHS = 4, 60
PLACEMENTS = ("before", "after", "interleaved")


def configs(cells: int):
    """Label and config of so many cells: every fusion in every placement it has, on as many data sets as it takes."""
    for data in itertools.count():
        for name in zoo.names("fusion"):
            placements = [p for p in PLACEMENTS if p in zoo.get("fusion", name).placements]
            for placement in placements:
                config = defaults.get_config()
                config.data.name, config.data.options = "synthetic", dict(seed=data)
                config.model.fusion.name, config.model.placement = name, placement
                yield name, config
                if (cells := cells - 1) == 0:
                    return


def predictions(rng: np.random.Generator, labels: np.ndarray, seed: int, skill: float) -> pd.DataFrame:
    """One seed's: parts drawn anew, log-probabilities that are right more often with more skill."""
    part = np.array(["train", "val", "test"])[rng.choice(3, len(labels), p=[0.6, 0.2, 0.2])]
    logits = rng.normal(size=(len(labels), CLASSES)) + skill * np.eye(CLASSES)[labels]
    rows = np.arange(len(labels), dtype=np.int32)
    columns = dict(seed=np.int32(seed), row=rows, part=pd.Categorical(part), labels=labels.astype(np.int32))
    return pd.DataFrame(dict(**columns, prediction=list(logits.astype(np.float32))))


def write(store: Store, cells: int, seeds: int, nodes: int) -> None:
    """A study of so many cells with predictions and histories."""
    rng, entries = np.random.default_rng(0), []
    labels = rng.integers(CLASSES, size=nodes)
    for number, (label, config) in enumerate(configs(cells)):
        config.seeds = seeds
        cell, identity = Cell(resolve(config).config, label, seeds), f"{number:016x}"
        tables = [predictions(np.random.default_rng([number % 7, s]), labels, s, 1.0) for s in range(seeds)]
        epochs = np.arange(EPOCHS)
        history = [
            dict(seed=s, epoch=epochs, train_loss=1 / (1 + epochs), val_loss=1.1 / (1 + epochs), val_score=epochs / 100)
            for s in range(seeds)
        ]
        metric = pd.DataFrame(dict(seed=range(seeds), part="test", metric="accuracy", value=0.5))
        files = dict(predictions=pd.concat(tables), history=pd.concat(map(pd.DataFrame, history)), metrics=metric)
        about = dict(kind="classes", level="node", num_outputs=CLASSES)
        cost = dict(target=about, parameters=1000 + number, seconds=9.0, train_seconds=5.0, compile_seconds=4.0)
        cost |= dict(flops=1e9, peak_bytes=1e8, seeds=seeds, dim=64, data="drawn")
        store.write_part(identity, cell, tuple(range(seeds)), files, cost)
        entries.append((identity, cell))
    store.write_study(entries, "experiments/bench_report.py")


def main(argv):
    del argv
    store = Store(FLAGS.workdir, create=True)
    if not (store.root / "study.json").exists():
        write(store, FLAGS.cells, FLAGS.seeds, FLAGS.nodes)
    profile, start, used = cProfile.Profile(time.process_time), time.perf_counter(), time.process_time()
    if FLAGS.profile:
        made = profile.runcall(report.written, store)
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
    else:
        made = report.written(store)
    print(made.sentence)
    cpu = time.process_time() - used
    print(f"{len(store.read_study()['cells'])} cells: {time.perf_counter() - start:.1f} s ({cpu:.1f} s of CPU)")
    for path in made.files:
        print(f"{path.stat().length / 1e6:8.2f} MB  {path.name}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "the folder of the study, which is made where there is none", required=True)
    flags.DEFINE_integer("cells", 300, "how many cells", lower_bound=1)
    flags.DEFINE_integer("seeds", 10, "seeds a cell", lower_bound=1)
    flags.DEFINE_integer("nodes", 1000, "rows a seed", lower_bound=10)
    flags.DEFINE_bool("profile", False, "say what the time goes into")
    arguments.run(main)
