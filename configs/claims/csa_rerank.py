"""Contextual similarity aggregation (csa-rerank): a node is described by its similarities to anchors, then refined.

The paper says that attention over a list of candidates refines what the similarities say, trained by a contrastive and
a reconstruction loss, and ranks better than the features themselves. Asked of classification with few labels: against
the features themselves, and against the same without its losses.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "csa_rerank")
OPTIONS = {"candidates": 12, "anchors": 12, "heads": 2}
SETTING = (
    "Digits (1,797 nodes, four views, two labels a class), lists of 12 candidates and 12 anchors, width 32, no edges, "
    "beside an MLP of the views; the paper re-ranks images (ROxford, RParis) and measures mean average precision."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "digits",
        "model.dim": 32,
        "model.fusion.name": "csa_rerank",
        "model.fusion.options": OPTIONS,
        "model.layer.name": "none",
    }
    return minutes(arg, changes, epochs=60)


def sweep(add):
    add({}, label="csa_rerank")
    add({"model.fusion.options": OPTIONS | {"contrastive": 0.0, "alpha": 0.0}}, label="without its losses")
    add({"model.fusion.name": "concat_mlp", "model.fusion.options": {}}, label="the views")


def claims():
    return [
        dict(claim="refined similarities beat the features themselves", better="csa_rerank", than="the views"),
        dict(claim="the contrastive and the reconstruction loss help", better="csa_rerank", than="without its losses"),
    ]
