"""Non-parametric transformers (Kossen et al., 2021): attention between datapoints, labels among what is attended to.

The paper says that a prediction gains from looking at other datapoints directly, which a model of one datapoint at a
time cannot. Asked where labels are few and nodes of a class are alike: attention over nodes and over the node's
modalities against attention over its modalities alone, no graph in either.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "npt")
SETTING = (
    "Digits without edges (1,797 nodes, four views, two labels a class), one pair of layers at 40,000 parameters, "
    "labels of training rows revealed to each other half of the time, beside a transformer over the modalities of a "
    "node; the paper has tables of up to a million rows, supervised, and CIFAR-10."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "digits",
        "model.fusion.name": "npt",
        "model.fusion.options": {"depth": 2, "heads": 2, "p_mask": 0.5},
        "model.layer.name": "none",
        "size.parameters": 40_000,
    }
    return minutes(arg, changes, epochs=80)


def sweep(add):
    add({}, label="npt")
    alone = {"model.fusion.name": "late_transformer", "model.fusion.options": {"layers": 2, "heads": 4}}
    add(alone, label="a node's modalities alone")


def claims():
    better, than = "npt", "a node's modalities alone"
    return [dict(claim="attention between datapoints beats attention within one", better=better, than=than)]
