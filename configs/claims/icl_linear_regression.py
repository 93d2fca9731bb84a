"""In-context linear regression (He et al., 2025): what heads of softmax attention learn from examples around a query.

The paper says that two heads learn a pair of opposite sign, which is about one step of debiased gradient descent, that
a single head cannot, and that more than two add nothing. Asked of the paper's own model and task, smaller: the share of
variance that is explained by one, two and four heads.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "icl_linear_regression")
SETTING = (
    "Planted stars (icl_linear_regression, 600 with 20 examples in three dimensions, noise .1), one layer, heads of "
    "full width as in the paper, so that more heads are more parameters, full-batch training of 400 steps; the paper "
    "draws 256 new samples with 40 examples in five dimensions at each of 500,000 steps and measures the squared "
    "error. By its approximate loss the best of one head has R² .63 here, of two .78."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "icl_linear_regression",
        "data.options": {"stars": 600, "context": 20, "dim": 3},
        "data.scale": "none",
        "model.dim": 3,
        "model.encoder.name": "padded",
        "model.fusion.name": "icl_linear_regression",
        "model.head": "fusion",
        "model.layers": 0,
        "model.placement": "after",
        "model.rate": 0.0,
        "optimizer.learning_rate": 1e-2,
    }
    return minutes(arg, changes, epochs=400)


def sweep(add):
    for heads, label in ((1, "one head"), (2, "two heads"), (4, "four heads")):
        add({"model.fusion.options": {"heads": heads, "widths": (3, 1), "predicts": True}}, label=label)


def claims():
    return [
        dict(claim="two heads explain more than one", better="two heads", than="one head", metric="r2", by=0.05),
        dict(
            claim="four heads are no better than two",
            better="four heads",
            than="two heads",
            metric="r2",
            equivalent=0.03,
        ),
    ]
