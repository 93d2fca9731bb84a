"""Regression on nodes: which fusion, with and without the graph? Planted truth, so that the best R^2 is known.

    python -m experiments.sweep --config=configs/ablations/regression.py --workdir=results/regression
    python -m experiments.sweep --config=configs/ablations/regression.py:quick --workdir=results/quick

1,000 nodes (`fusion_jax/data/synthetic_values.py`), the target half a product and half a sum of what two noisy
modalities hold. R^2 of the conditional mean (`best_r2`): 0.96 given the latents, 0.54 given the features of the node
itself, which bounds the rows without graph, 0.16 given one modality.
"""

from fusion_jax.study import defaults

FUSIONS = ("concat_linear", "concat_mlp", "sum", "mean", "gmu", "self_attention", "multiplicative_interaction", "lmf")


def get_config(arg: str = ""):
    config = defaults.get_config(arg)
    config.data.name = "synthetic_values"
    config.model.dim = 32
    config.model.rate = 0.1
    return config


def sweep(add):
    for fusion in FUSIONS:
        for placement in ("before", "after"):
            add({"model.fusion.name": fusion, "model.placement": placement})
    add(
        {"model.readout.name": "histograph_node", "model.readout.options": dict(guard=1e-6)},
        label="concat_mlp, histograph_node",
    )
    add(
        {"model.fusion.name": "late_logits", "model.placement": "decision", "loss.name": "mse"},
        label="late: mean of the predictions",
    )
    for fusion in ("concat_mlp", "sum"):
        add({"model.fusion.name": fusion, "model.layer.name": "none", "model.layers": 1}, label=f"{fusion}, no graph")
    for modality in ("a", "b"):
        add({"data.modalities": (modality,), "model.fusion.name": "mean"}, label=f"single: {modality}")
        add(
            {"data.modalities": (modality,), "model.fusion.name": "mean", "model.layer.name": "none"},
            label=f"single: {modality}, no graph",
        )
