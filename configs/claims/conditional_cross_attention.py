"""Conditional cross-attention (Song et al., 2023): a condition asks, and one network has an embedding for each target.

The paper says that one backbone, asked under several conditions, keeps what they need apart, which one embedding for
all does not, and that it stands in for a network a condition. Asked of nodes with two targets, a class and two values:
against one embedding from which both are read, and against a network that learns the class alone.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "conditional_cross_attention")
SETTING = (
    "Planted nodes (synthetic_several, 800, two modalities; the class takes both, signs as they look are right at .78, "
    "and so does each value), one layer of self-attention, 12,000 parameters, no edges, class and values each by its "
    "own loss, accuracy of the class; the paper has images of clothes and shoes with several attributes, a triplet "
    "loss and retrieval."
)
OPTIONS = {"layers": 1, "heads": 2}


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_several",
        "data.options": {"nodes": 800, "noise": 0.2},
        "model.fusion.name": "conditional_cross_attention",
        "model.layer.name": "none",
        "model.layers": 1,
        "model.placement": "after",
        "model.rate": 0.0,
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=120)


def sweep(add):
    conditions = {"model.fusion.options": OPTIONS | {"conditions": "targets"}, "model.head": "fusion"}
    add(conditions, label="a condition a target")
    add({"model.fusion.options": OPTIONS | {"conditions": "modalities"}}, label="one embedding")
    alone = {"loss.name": "several", "loss.options": {"weights": (1.0, 0.0)}}
    add(conditions | alone, label="the class alone")


def claims():
    better, metric = "a condition a target", "quadrant: accuracy"
    return [
        dict(
            claim="an embedding under each target's condition beats one for all",
            better=better,
            than="one embedding",
            metric=metric,
        ),
        dict(
            claim="one network under conditions is as good as a network of the class alone",
            better=better,
            than="the class alone",
            metric=metric,
            equivalent=0.03,
        ),
    ]
