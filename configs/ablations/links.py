"""Link prediction: which fusion tells who is joined, when each modality holds half of what it takes? Planted truth.

    python -m experiments.sweep --config=configs/ablations/links.py --workdir=results/links
    python -m experiments.sweep --config=configs/ablations/links.py:quick --workdir=results/quick

400 nodes (`fusion_jax/data/synthetic_links.py`). No model sees an edge between two nodes of a validation or test row.
"""

from fusion_jax.study import defaults

FUSIONS = ("concat_linear", "concat_mlp", "mean", "gmu", "self_attention")


def get_config(arg: str = ""):
    config = defaults.get_config(arg)
    config.data.name = "synthetic_links"
    config.model.dim = 32
    config.model.rate = 0.1
    return config


def sweep(add):
    for fusion in FUSIONS:
        for placement in ("before", "after"):
            add({"model.fusion.name": fusion, "model.placement": placement})
    add({"model.readout.name": "dot"}, label="concat_mlp, scalar product")
    add({"model.layer.name": "none", "model.layers": 1}, label="concat_mlp, no graph")
    for modality in ("a", "b"):
        add({"data.modalities": (modality,), "model.fusion.name": "mean"}, label=f"single: {modality}")
