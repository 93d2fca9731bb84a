"""BiFormer (Zhu et al., 2023): route to a few parts first, attend inside of them.

The paper says that a query needs the tokens of a few regions alone, chosen by content, and that this is as good as
attention over all. Asked where the class of a node stands in one other node eight edges away: routing has to find its
part.
"""

from fusion_jax.study.claim_files import minutes

OF = ("layer", "biformer")
SETTING = (
    "Planted trees (synthetic_reach, distance 8, 300 graphs), two layers, 12,000 parameters, four parts a part, beside "
    "one part a part (the affinity has no choice left but the best) and exact attention over all nodes; the paper has "
    "images of 224 x 224 and ImageNet accuracy."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_reach",
        "data.options": {"distance": 8, "graphs": 300},
        "model.rate": 0.0,
        "optimizer.learning_rate": 5e-3,
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=150)


def sweep(add):
    add({"model.layer.name": "biformer", "model.layer.options": {"topk": 4}}, label="biformer")
    add({"model.layer.name": "biformer", "model.layer.options": {"topk": 1}}, label="biformer, one part")
    add({"model.layer.name": "long_sequence_unified", "model.layer.options": {"residual": True}}, label="all nodes")


def claims():
    return [
        dict(
            claim="attention inside four routed parts is as good as attention over all nodes",
            better="biformer",
            than="all nodes",
            equivalent=0.03,
        ),
        dict(claim="four routed parts are better than one", better="biformer", than="biformer, one part"),
    ]
