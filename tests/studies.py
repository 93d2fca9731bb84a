"""Small studies for what runs whole ones: their files, the command that sweeps them, and what is stored."""

import pathlib

from fusion_jax.results.store import Store
from tests import tiny

STUDY = """
from tests import tiny

def get_config(arg=""):
    return tiny.config()

def sweep(add):
    {cells}
"""

CONTROL = '''"""A control of a test."""
import numpy as np
from fusion_jax.controls.base import Control
from fusion_jax.records import Info

class Scratch(Control):
    """As below."""
    info = Info("none")
    def predict(self, x, labels, split, graph, classes, seed):
        {body}
        return np.eye(classes)[np.arange(len(x)) % classes]
'''

LR, RBF, LP = ({"control.name": n} for n in ("logistic_regression", "rbf_svm", "label_propagation"))

SCRATCH = {"control.name": "scratch"}


def write(folder, *cells):
    """A study file in the folder, of the tiny cell changed in so many ways; its path."""
    path = pathlib.Path(folder, "study.py")
    path.write_text(STUDY.format(cells="\n    ".join(f"add({c})" for c in cells)))
    return str(path)


def run(file, workdir, *more):
    """Sweeps the study, a cell at a time: exit status and what was printed."""
    return tiny.command("experiments.sweep", f"--config={file}", f"--workdir={workdir}", "--jobs=1", *more)


def state(workdir):
    """{file: (time of writing, content)} of all cells."""
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in pathlib.Path(workdir, "cells").rglob("*") if p.is_file()}


def cells(workdir):
    """The store, and {label: identity} of its study."""
    store = Store(workdir)
    return store, {c["label"]: c["id"] for c in store.read_study()["cells"]}
