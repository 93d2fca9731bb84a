"""BioFusionNet (Mondal et al., 2024): co-attention and two rounds of crossed attention, and a weighted Cox loss.

The paper says that images and genes fused by co-dual-cross-attention stratify the risk of patients better than simpler
fusions, and that a Cox loss which weighs patients deals with few events. Asked of genes and clinical values of
patients: against concatenation, and with events that count as much as any other patient.
"""

from fusion_jax.study.claim_files import minutes

OF = (("fusion", "biofusionnet"), ("loss", "cox"))
SETTING = (
    "Breast cancer (198 patients, 76 genes and four clinical values, 51 events), neighbours in a graph of patients as "
    "keys, one layer of gcn behind, 30,000 parameters, events five times in the loss, 20 seeds, beside concat_mlp and "
    "events that count once; the paper has slide images, 138 genes and clinical values, one patient at a time."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "breast_cancer",
        "data.scale": "column",
        "loss.options": {"event_weight": 5.0},
        "model.fusion.name": "biofusionnet",
        "model.layers": 1,
        "model.rate": 0.3,
        "optimizer.learning_rate": 1e-3,
        "size.parameters": 30_000,
    }
    config = minutes(arg, changes, epochs=100)
    if "quick" not in arg.split(","):
        config.seeds = 20  # ten events in a test part
    return config


def sweep(add):
    add({}, label="biofusionnet")
    add({"loss.options": {"event_weight": 1.0}}, label="events count once")
    add({"model.fusion.name": "concat_mlp"}, label="concat_mlp")


def claims():
    return [
        dict(
            claim="co-dual-cross-attention ranks risks better than concatenation",
            better="biofusionnet",
            than="concat_mlp",
        ),
        dict(
            claim="a Cox loss that weighs the few events ranks better", better="biofusionnet", than="events count once"
        ),
    ]
