"""Classification of whole graphs: which fusion, read how? Planted truth, so that the best accuracy is known.

    python -m experiments.sweep --config=configs/ablations/graphs.py --workdir=results/graphs
    python -m experiments.sweep --config=configs/ablations/graphs.py:quick --workdir=results/quick

240 small trees in four classes (`fusion_jax/data/synthetic_graphs.py`): one bit is a hub among the edges, the other
the product of two modalities' signs. The best rule is right in (nearly) all graphs; one bit alone gives 0.5, chance
0.25. Rows without graph layers cannot know the first bit, single modalities cannot know the second.
"""

from fusion_jax.study import defaults

FUSIONS = ("concat_linear", "concat_mlp", "sum", "mean", "gmu", "self_attention", "node_token")
READOUTS = {
    "mean": dict(name="mean", options={}),
    "histograph": dict(name="histograph", options=dict(guard=1e-6)),
    "histograph (core)": dict(name="histograph", options=dict(guard=1e-6, form="core")),
}


def get_config(arg: str = ""):
    config = defaults.get_config(arg)
    config.data.name = "synthetic_graphs"
    config.model.dim = 16
    config.model.rate = 0.0
    if "quick" not in arg:
        config.training.patience = config.training.epochs
    return config


def sweep(add):
    for fusion in FUSIONS:
        for label, readout in READOUTS.items():
            add(
                {
                    "model.fusion.name": fusion,
                    "model.readout.name": readout["name"],
                    "model.readout.options": readout["options"],
                },
                label=f"{fusion}, {label}",
            )
    for label in ("mean", "histograph"):
        readout = READOUTS[label]
        add(
            {
                "model.placement": "after",
                "model.readout.name": readout["name"],
                "model.readout.options": readout["options"],
            },
            label=f"concat_mlp, {label}",
        )
    add({"model.layer.name": "none", "model.readout.name": "mean"}, label="concat_mlp, mean, no graph")
    for modality in ("m0", "m1"):
        add(
            {
                "data.modalities": (modality,),
                "model.fusion.name": "mean",
                "model.readout.name": "histograph",
                "model.readout.options": READOUTS["histograph"]["options"],
            },
            label=f"single: {modality}",
        )
