"""Limits to depth efficiencies (Levine et al., 2020): depth beats width up to a depth that the width allows.

The paper says that up to about log_3 of the width it is far better to deepen a network of attention than to widen it,
and that beyond, depth and width are worth the same. Asked at one number of parameters, where a node's modalities point
at one another and have to be followed: widths are 26, 19 and 13, whose log_3 is 3.0, 2.7 and 2.3.
"""

from fusion_jax.study.claim_files import minutes

OF = ("analysis", "depth_efficiency")
SETTING = (
    "Planted nodes (synthetic_bands, effort alone, 800, three modalities that point at each other: the best classifier "
    ".99, who reads one .50, two .75), pre-norm blocks over a node's four tokens, 10,000 parameters, no edges, one "
    "learning rate; the paper has language models of 6 to 48 layers and up to 10^9 parameters, and their loss."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_bands",
        "data.options": dict(nodes=800, modalities=3, band=0.0, effort=1.0, deep=0.75),
        "model.fusion.name": "node_token",
        "model.layer.name": "none",
        "model.layers": 0,
        "model.rate": 0.1,
        "optimizer.learning_rate": 2e-3,
        "size.parameters": 10_000,
    }
    return minutes(arg, changes, epochs=100)


def sweep(add):
    for blocks, label in ((1, "one block"), (2, "two blocks"), (4, "four blocks")):
        add({"model.fusion.options": {"blocks": blocks, "heads": 1}}, label=label)


def claims():
    return [
        dict(claim="below log_3 of the width, two blocks beat a wider one", better="two blocks", than="one block"),
        dict(
            claim="beyond it, four blocks are as good as two wider ones",
            better="four blocks",
            than="two blocks",
            equivalent=0.03,
        ),
    ]
