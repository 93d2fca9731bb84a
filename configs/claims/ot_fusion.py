"""OT fusion (Imfeld et al., 2024): networks averaged after their neurons are matched by optimal transport.

The paper says that averaging the parameters of two transformers destroys them, while averaging them after their neurons
are matched, layer by layer, keeps much of what they can. Asked of pairs of networks that differ in their initial values
and dropout alone.
"""

from fusion_jax import merging, zoo
from fusion_jax.merging import base
from fusion_jax.study.claim_files import minutes

OF = ("merging", "ot_fusion")
SETTING = (
    "digits (four kinds of features of handwritten numerals, one split), self-attention over modalities with two "
    "layers of gcn at width 32, 20 networks merged two by two without finetuning, soft maps of activations; the paper "
    "has vision transformers on CIFAR and ImageNet and BERT, two networks each."
)
MEASURED = {"matched by transport": "network", "plain average": "network"}
WAYS = {"matched by transport": "ot_fusion", "plain average": "average"}


def get_config(arg: str = ""):
    changes = {
        "data.name": "digits",
        "data.scale": "modality",
        "model.fusion.name": "self_attention",
        "model.layer.name": "gcn",
        "model.dim": 32,
        "per_seed": ("init", "dropout"),
        "seeds": 20,
    }
    config = minutes(arg, changes, epochs=80)
    if "quick" in arg.split(","):
        config.seeds = 2
    return config


def sweep(add):
    add({}, label="network")


def measured(cells):
    """Every pair of networks, the first with the second, the third with the fourth, ..., under the first's seed."""
    cell = cells["network"]
    parents, _ = base.parents_of([cell])
    rows = base.common_test_rows(parents)
    found = {row: {"accuracy": {}} for row in MEASURED}
    for i in range(0, len(parents) - 1, 2):
        pair = parents[i : i + 2]
        anchor = max((0, 1), key=lambda n: pair[n].score)
        for row, name in WAYS.items():
            prediction = zoo.get("merging", name)(pair, anchor).prediction
            found[row]["accuracy"][cell.seeds[i]] = merging.measured(cell, prediction, rows)["accuracy"]
    return found


def claims():
    claim = "two networks averaged after transport matched their neurons beat their plain average"
    return [dict(claim=claim, better="matched by transport", than="plain average")]
