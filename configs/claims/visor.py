"""VISOR (Bulat et al., 2026): most layers only read the vision tokens, some rewrite them, and a policy says how many.

The paper says that reading alone falls behind where a task is hard (51.8 against 58.4) and not where it is easy, and
that layers chosen for each sample are as good as all of them, at less cost. Asked where nodes need one to three
readings, one behind the other.
"""

from fusion_jax.study.claim_files import minutes

OF = (("fusion", "visor"), ("scheme", "visor"))
EFFORT = dict(modalities=3, classes=3, band=0.0, effort=1.0, deep=0.6, degree=2)
OPTIONS = {"layers": 6, "heads": 2}
SETTING = (
    "Planted nodes (synthetic_bands, effort, 1,200, three modalities that point at each other), six layers, of which "
    "two rewrite, 30,000 parameters, beside none that rewrites and a budget chosen for each node; the paper has "
    "language models of 24 layers and more, hundreds of vision tokens, and operations as the cost."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_bands",
        "data.options": EFFORT | {"nodes": 1200},
        "model.dim": 18,  # where the search for the size begins
        "model.fusion.name": "visor",
        "model.fusion.options": OPTIONS,
        "model.layer.name": "none",
        "model.layers": 1,
        "model.rate": 0.1,
        "optimizer.learning_rate": 2e-3,
        "size.parameters": 30_000,
    }
    return minutes(arg, changes, epochs=120)


def sweep(add):
    add({}, label="all rewrite")
    add({"model.fusion.options": OPTIONS | {"budget": 0}}, label="none rewrites")
    add({"scheme.name": "visor"}, label="a node its own budget")


def claims():
    return [
        dict(claim="rewriting the modalities beats only reading them", better="all rewrite", than="none rewrites"),
        dict(
            claim="a budget chosen for each node is as good as all",
            better="a node its own budget",
            than="all rewrite",
            equivalent=0.03,
        ),
    ]
