"""ABCD and CLEANN (Rohekar et al., 2023): attention read as a causal graph, and explanations found along it.

The paper says that sets found along the causal graph of a node's attention explain a prediction with fewer tokens than
those of most attention do. Asked of which way more often finds a set as small as there is whose masking
flips the class.
"""

from fusion_jax import zoo
from fusion_jax.study.claim_files import minutes

OF = ("analysis", "causal_attention")
SETTING = (
    "Planted nodes (synthetic_bands, 800, four modalities of which one holds the class and one tells which), two "
    "layers of attention with two heads at width 24, 60 test nodes a seed; a graph may propose several sets of a size, "
    "the ranking by attention has one, as in the paper; the paper has BERT for sentiment and recommendation, tokens of "
    "sentences and sessions, and reports the sizes."
)
MEASURED = {"along the graph": "model", "by most attention": "model"}
QUANTITY = "share of nodes"
COLUMNS = {"along the graph": "found", "by most attention": "ranked"}


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_bands",
        "data.options": dict(nodes=800, modalities=4, classes=4, band=0.0, reliability=1.0),
        "model.fusion.name": "deconstructing_attention",
        "model.fusion.options": dict(layers=2, heads=2),
        "model.dim": 24,
        "model.layer.name": "none",
        "optimizer.learning_rate": 3e-3,
    }
    return minutes(arg, changes, epochs=120)


def sweep(add):
    add({}, label="model")


def measured(cells):
    """The share of nodes whose class some masking flips for which a set as small as there is was found."""
    cell, found = cells["model"], {row: {"accuracy": {}} for row in MEASURED}
    for place, seed in enumerate(cell.seeds):
        every = zoo.get("analysis", "causal_attention")(cell, place, nodes=60).tables["explanations"].iloc[0]
        for row, column in COLUMNS.items():
            if every.flips:
                found[row]["accuracy"][seed] = float(every[column])
    return found


def claims():
    claim = "sets found along the causal graph are as small as possible more often than those of most attention"
    return [dict(claim=claim, better="along the graph", than="by most attention")]
