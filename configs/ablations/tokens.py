"""Modalities as tokens: every fusion in which queries read them, beside the classical competitors.

    python -m experiments.sweep --config=configs/ablations/tokens.py --workdir=results/tokens
    python -m experiments.sweep --config=configs/ablations/tokens.py:match --workdir=results/tokens_match
    python -m experiments.sweep --config=configs/ablations/tokens.py:digits --workdir=results/tokens_digits

On `digits` and `rosmap` (the argument names one of them), in every placement a mechanism has, five seeds each.
Mechanisms whose own sizes would take longer than all others together are smaller; their rows say so.
With `match` every variant has about as many parameters as the concat_mlp row (within 10 %), by its width.
"""

from configs import base
from fusion_jax import zoo

BASELINES = ("concat_linear", "concat_mlp", "mean", "gmu")
TOKENS = (
    "self_attention", "free_query", "node_query", "node_token", "transformer_decoder", "transformer_decoder_edges",
    "perceiver_io", "hierarchical_perceiver", "selfdoc", "persistent_memory", "wayformer", "m2fnet", "ista_net",
    "gpcr_filter",
)  # fmt: skip
COMPETITORS = (
    "lmf", "tfn", "film", "mult", "mbt", "spatialglue", "mag", "multiplicative_interaction", "mmtm", "moe",
)  # fmt: skip
DATA = {
    "digits": {"data.name": "digits", "data.scale": "view"},
    "rosmap": {"data.name": "rosmap", "data.scale": "column"},
}
VIEWS = {  # an edge set a modality, for what needs them
    "digits": ("knn_pixels", "knn_fourier", "knn_gradients", "knn_profiles"),
    "rosmap": ("knn_mRNA", "knn_methylation", "knn_miRNA"),
}
# At their own sizes a cell of these takes from five minutes (mult, 1.6 s an epoch) to half an hour (wayformer, 5 s).
SMALLER = {
    "hierarchical_perceiver": {"tokens": 2, "self_attends": (1, 1, 1), "widening": 2},
    "ista_net": {"blocks": ((16, 4),)},
    "wayformer": {"depth": 2, "latents": 8, "context": 8},
    "mult": {"layers": 1, "memory_layers": 1, "width": 8},
}
RATES = {  # at 1e-2, right for most on `digits`, the first two stay at chance, and of the others some seeds do
    "m2fnet": 1e-3, "gpcr_filter": 1e-3, "perceiver_io": 2e-3, "hierarchical_perceiver": 2e-3, "wayformer": 2e-3,
}  # fmt: skip
FINER = {  # at their own sizes no width comes within 10 % of concat_mlp
    "m2fnet": {"heads": 2}, "hierarchical_perceiver": {"heads": 2},
    "node_token": {"heads": 2}, "wayformer": {"heads": 2}, "gpcr_filter": {"heads": 2}, "tfn": {"hidden": 72},
}  # fmt: skip
PLACED = ("before", "after", "interleaved")


def get_config(arg: str = ""):
    """`arg` may hold, comma-separated: match, digits, rosmap, and what base.py takes."""
    parts = [p for p in arg.split(",") if p]
    config = base.get_config(",".join(p for p in parts if p not in (*DATA, "match")))
    config.model.dim = 32
    config.model.layer.name = "sgc"
    with config.model.layer.options.unlocked():
        config.model.layer.options.hops = 4
    config.optimizer.learning_rate = 2e-3
    epochs = 150, 40, 25
    if "digits" in parts and "rosmap" not in parts:  # as in quickstart.py: twenty labels have to reach 1,797 nodes
        config.model.layer.options.hops, config.model.layers = 12, 1
        config.optimizer.learning_rate = 1e-2
        epochs = 60, 16, 20
    if "quick" not in parts:
        config.training.epochs, config.training.patience, config.training.chunk = epochs
    config.training.select_every = 2
    if "match" in parts:
        config.match_params = "concat_mlp"
    return config


def sweep(add, arg: str = ""):
    for data in [d for d in DATA if d in arg.split(",")] or DATA:
        for fusion in (*BASELINES, *TOKENS, *COMPETITORS):
            for placement in PLACED:
                if placement in zoo.get("fusion", fusion).placements:
                    own = {"model.fusion.name": fusion, "model.placement": placement}
                    options = SMALLER.get(fusion, {})
                    if "match" in arg.split(","):
                        options = options | FINER.get(fusion, {})
                    if options:
                        own["model.fusion.options"] = options
                    if "views" in zoo.get("fusion", fusion).info.needs:
                        own["data.views"] = VIEWS[data]
                    if fusion in RATES:
                        own["optimizer.learning_rate"] = RATES[fusion]
                    add(DATA[data] | own)
        for control in ("label_propagation", "logistic_regression", "rbf_svm"):
            add(DATA[data] | {"control.name": control})
