"""Which fusion of genes and clinical values tells best who has a metastasis first?

    python -m experiments.sweep --config=configs/ablations/survival.py --workdir=results/survival
    python -m experiments.sweep --config=configs/ablations/survival.py:quick --workdir=results/survival_quick

198 patients, two modalities, a neighbour graph of patients; Cox loss on 119 of them, 31 with the event. Every row
names what the risk sets are ordered by: time (the partial likelihood) or risk (BioFusionNet's release, in which
survival times are not used). Test parts hold 10 events: expect a spread of .05 to .1 between seeds, and take
ten seeds or more for differences between rows. Needs `pip install 'fusion_jax[survival]'`.
"""

from fusion_jax.study import defaults

FUSIONS = ("concat_linear", "concat_mlp", "mean", "gmu", "self_attention", "node_token", "mult", "biofusionnet")
BY_RISK = ("concat_mlp", "gmu", "biofusionnet")
NO_GRAPH = {"model.layers": 0}


def get_config(arg: str = ""):
    config = defaults.get_config(arg)
    config.data.name = "breast_cancer"
    config.data.scale = "column"  # age in years beside a receptor status of 0 or 1
    config.model.dim = 32
    config.optimizer.learning_rate = 1e-3
    config.optimizer.options.weight_decay = 1e-2
    return config


def sweep(add):
    for fusion in FUSIONS:
        for placement in ("before", "after"):
            add({"model.fusion.name": fusion, "model.placement": placement}, label=f"{fusion}, by time")
    for fusion in BY_RISK:
        for placement in ("before", "after"):
            add(
                {"model.fusion.name": fusion, "model.placement": placement, "loss.options": {"order": "risk"}},
                label=f"{fusion}, by risk",
            )
    for modality in ("genes", "clinical"):
        add(
            {"data.modalities": (modality,), "model.fusion.name": "mean", **NO_GRAPH},
            label=f"single: {modality}, by time",
        )
    add({"model.fusion.name": "concat_linear", **NO_GRAPH}, label="linear Cox model, by time")
    add({"model.fusion.name": "concat_mlp", **NO_GRAPH}, label="concat_mlp, by time")
    # BioFusionNet's parts: more weight on events, its feature-set encoder, and attention as its training script has it
    bio = {"model.fusion.name": "biofusionnet"}
    add({**bio, "loss.options": {"event_weight": 5.0}}, label="biofusionnet, events x 5, by time")
    add({**bio, "model.encoder.name": "vae"}, label="biofusionnet, VAE encoder, by time")
    for order in ("time", "risk"):
        add(
            {**bio, **NO_GRAPH, "data.graph": "alone", "loss.options": {"order": order}},
            label=f"biofusionnet, one patient at a time, by {order}",
        )
