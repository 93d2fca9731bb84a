"""A class and two values at once: what does each cost the other, and which fusion serves both? Planted truth.

    python -m experiments.sweep --config=configs/ablations/several.py --workdir=results/several
    python -m experiments.sweep --config=configs/ablations/several.py:quick --workdir=results/quick

600 nodes (`fusion_jax/data/synthetic_several.py`). Rows that weigh one target alone learn nothing of the other.
"""

from fusion_jax.study import defaults

FUSIONS = ("concat_linear", "concat_mlp", "mean", "gmu", "self_attention")


def get_config(arg: str = ""):
    config = defaults.get_config(arg)
    config.data.name = "synthetic_several"
    config.model.dim = 32
    config.model.rate = 0.1
    return config


def sweep(add):
    for fusion in FUSIONS:
        for placement in ("before", "after"):
            add({"model.fusion.name": fusion, "model.placement": placement})
    for name, weights in (("class alone", (1.0, 0.0)), ("values alone", (0.0, 1.0)), ("values 4 to 1", (1.0, 4.0))):
        add({"loss.name": "several", "loss.options": {"weights": weights}}, label=f"concat_mlp, {name}")
