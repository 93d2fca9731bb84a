"""Study files of claims, small enough for a test: two controls on planted nodes."""

from __future__ import annotations

import pathlib

TEXT = """
from tests import tiny

OF = ("control", "label_propagation")
SETTING = "Small."

def get_config(arg=""):
    return tiny.config(seeds=6)

def sweep(add):
    add({"control.name": "label_propagation"}, label="graph")
    add({"control.name": "logistic_regression"}, label="features")

def claims():
    return [dict(claim="SAID the graph alone tells more than features", better="graph", than="features")]
"""


MEASURING = (  # changes that make it one that measures on a trained model
    'def sweep(add):\n    add({"control.name": "label_propagation"}, label="graph")\n',
    """MEASURED = {"whole": "model", "half": "model"}

def measured(cells):
    accuracy = cells["model"].metrics.query("part == 'test' and metric == 'accuracy'").set_index("seed").value
    scale = {"whole": 1.0, "half": 0.5}
    return {row: {"accuracy": {s: float(f * v) for s, v in accuracy.items()}} for row, f in scale.items()}

def sweep(add):
    add({}, label="model")
""",
)


def write(folder: pathlib.Path, name: str, *changes: tuple[str, str]) -> pathlib.Path:
    """The path of a file with texts changed into others."""
    text = TEXT.replace("SAID", name)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / f"{name}.py"
    path.write_text(text)
    return path
