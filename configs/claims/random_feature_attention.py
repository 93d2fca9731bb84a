"""Random feature attention (random-feature-attention): queries and keys frozen at random, only values are learnt.

The paper says that such a layer learns functions of how the query and the keys relate which features of each key by
itself do not show. Asked where the class is the sum of two symbols, one in each modality, and neither alone tells
anything: the closed-form ridge of the layer against a linear model of the same vectors.
"""

from fusion_jax.study.claim_files import minutes

OF = (("fusion", "random_feature_attention"), ("scheme", "random_feature_attention"))
SETTING = (
    "Planted nodes (synthetic, 1,200, two modalities, synergy alone, two classes), no edges, 256 heads solved in "
    "closed form, beside logistic regression on both modalities; the paper has regression on Gaussian inputs of many "
    "keys and compares with random features of an MLP."
)


def get_config(arg: str = ""):
    options = dict(modalities=2, classes=2, redundant=0.0, unique=0.0, synergy=0.9, homophily=0.5, train=0.5)
    changes = {
        "data.name": "synthetic",
        "data.options": options,
        "model.fusion.name": "random_feature_attention",
        "model.layer.name": "none",
        "model.head": "fusion",
        "model.placement": "after",
        "scheme.name": "random_feature_attention",
    }
    return minutes(arg, changes, epochs=20)


def sweep(add):
    add({}, label="random feature attention")
    add({"control.name": "logistic_regression"}, label="logistic regression")


def claims():
    better, than = "random feature attention", "logistic regression"
    return [dict(claim="frozen random attention reads what a linear model cannot", better=better, than=than, by=0.05)]
