"""Several labels a row: which fusion finds those that only both modalities together tell? Planted truth.

    python -m experiments.sweep --config=configs/ablations/labels.py --workdir=results/labels
    python -m experiments.sweep --config=configs/ablations/labels.py:quick --workdir=results/quick

600 nodes with six labels (`fusion_jax/data/synthetic_labels.py`), two of them products of what the modalities hold.
"""

from fusion_jax.study import defaults

FUSIONS = ("concat_linear", "concat_mlp", "mean", "gmu", "self_attention")


def get_config(arg: str = ""):
    config = defaults.get_config(arg)
    config.data.name = "synthetic_labels"
    config.model.dim = 32
    config.model.rate = 0.1
    return config


def sweep(add):
    for fusion in FUSIONS:
        for placement in ("before", "after"):
            add({"model.fusion.name": fusion, "model.placement": placement})
    add(
        {"model.fusion.name": "concat_mlp", "model.layer.name": "none", "model.layers": 1}, label="concat_mlp, no graph"
    )
    for modality in ("a", "b"):
        add({"data.modalities": (modality,), "model.fusion.name": "mean"}, label=f"single: {modality}")
