"""Modalities as tokens: every fusion in which queries read them, beside the classical competitors.

    python -m experiments.sweep --config=configs/ablations/tokens.py --workdir=results/tokens
    python -m experiments.sweep --config=configs/ablations/tokens.py:match --workdir=results/tokens_match
    python -m experiments.sweep --config=configs/ablations/tokens.py:match,tuned,core,rosmap --workdir=results/rosmap
    python -m experiments.sweep --config=configs/ablations/tokens.py:match,tuned,core,watch --workdir=results/watch
    python -m experiments.sweep --config=configs/ablations/tokens.py:digits --workdir=results/tokens_digits
    python -m experiments.sweep --config=configs/ablations/tokens.py:small --workdir=results/tokens_small

On `digits`, `rosmap` and `watch`, the smartwatch that lacks half of its channels (the argument names one of them), in
every placement a mechanism has, ten seeds each. `late_transformer` is the simple baseline to be beaten. Every
mechanism runs at the sizes of its file, all at one width D: none is cut down to save time. On two cores most cells take
seconds, those of `SMALLER` from five minutes (mult, 1.6 s an epoch) to half an hour (wayformer, 5 s).

Where the files are below their papers, because a node here is a handful of tokens and not hundreds, or because every
node holds what a paper holds once: tfn (a product of 4,096 entries, not 140,481, so w = 7 for the four modalities of
digits; hidden 64, not 128), mult (layers 2, not 5; width 16, not 30), mbt (4 layers, not 12), persistent_memory (32
vectors, not 1,024), gpcr_filter (4 heads, not 8). Their rows speak of these sizes.

With `core` a quarter of the cells: eleven fusions, before and after. With `tuned` (extra `tune`) learning rate and
dropout of every model are chosen by `TRIALS` trials on validation rows of other seeds.

Recorded with `match,tuned,core`, ten seeds: on neither data set any of the fusions is shown to beat concat_mlp or
late_transformer. rosmap: furthest ahead of concat_mlp is gmu after, by 2.6 points of accuracy [-0.1, 5.4], and rbf_svm
(.791) has a better mean than all (best .761). watch: gmu before, by 0.1 [-15.5, 15.8]; the graph is worth 15.9 points
[6.3, 25.5] to concat_mlp. By six trials a row the mean over rows moved by +0.1 and -0.4 points.

With `small`, the study in a fraction of the time, the four of `SMALLER` are cut down. A row says to what, and says then
nothing of the mechanism: it may lose by its size alone. With `match` every variant has about as many parameters as the
concat_mlp row (within 10 %), by its width; for that the same four give up depth, and those of `FINER` heads, since at
their own no width comes that near. `spatialglue` has an edge set a modality beside the shared one, and so have the
graph layers of its streams where it does not stand `before`: those rows differ from the others in their edges too (but
on `watch`, which has one edge set).
"""

from fusion_jax import zoo
from fusion_jax.study import defaults

BASELINES = ("concat_linear", "concat_mlp", "mean", "gmu")
TOKENS = (
    "self_attention",
    "free_query",
    "node_query",
    "node_token",
    "transformer_decoder",
    "transformer_decoder_edges",
    "perceiver_io",
    "hierarchical_perceiver",
    "selfdoc",
    "persistent_memory",
    "wayformer",
    "m2fnet",
    "ista_net",
    "gpcr_filter",
)
COMPETITORS = (
    "late_transformer",
    "lmf",
    "tfn",
    "film",
    "mult",
    "mbt",
    "spatialglue",
    "mag",
    "multiplicative_interaction",
    "mmtm",
    "moe",
)
DATA = {
    "digits": {"data.name": "digits", "data.scale": "modality"},
    "rosmap": {"data.name": "rosmap", "data.scale": "column"},
    "watch": {"data.name": "watch", "data.options": {"missing": 0.5, "window": 200}, "data.scale": "column"},
}
VIEWS = {  # an edge set a modality, for what needs them
    "digits": ("knn_pixels", "knn_fourier", "knn_gradients", "knn_profiles"),
    "rosmap": ("knn_mRNA", "knn_methylation", "knn_miRNA"),
    "watch": ("time",) * 6,  # it has no other
}
SMALLER = {  # with `small` and `match` only
    "hierarchical_perceiver": {"tokens": 2, "self_attends": (1, 1, 1), "widening": 2},
    "ista_net": {"blocks": ((16, 4),)},
    "wayformer": {"depth": 2, "latents": 8, "context": 8},
    "mult": {"layers": 1, "memory_layers": 1, "width": 8},
}
RATES = {  # at 1e-2, right for most on `digits`, the first two stay at chance, and of the others some seeds do
    "m2fnet": 1e-3,
    "gpcr_filter": 1e-3,
    "perceiver_io": 2e-3,
    "hierarchical_perceiver": 2e-3,
    "wayformer": 2e-3,
}
FINER = {  # at their own sizes no width comes within 10 % of concat_mlp
    "m2fnet": {"heads": 2},
    "hierarchical_perceiver": {"heads": 2},
    "node_token": {"heads": 2},
    "wayformer": {"heads": 2},
    "gpcr_filter": {"heads": 2},
    "late_transformer": {"heads": 2},
    "mbt": {"heads": 2, "tokens": 2},
    "persistent_memory": {"heads": 2},
    "tfn": {"hidden": 72},
}
WATCH = {"tfn": {"hidden": 60}}  # the same on `watch`, whose six modalities make another product (and leave D = 2)
UNMATCHED = (  # not there with `match`: thirty pairs of modalities at any width, and widths that lie too far apart
    ("watch", "mult", "before"),
    ("watch", "mult", "after"),
    ("watch", "mbt", "interleaved"),
    ("rosmap", "mbt", "interleaved"),
)
CORE = (  # with `core`, `before` and `after` only: the simple ones, and of every other kind one that is soon done
    "concat_mlp",
    "mean",
    "gmu",
    "self_attention",
    "node_token",
    "transformer_decoder",
    "persistent_memory",
    "late_transformer",
    "lmf",
    "tfn",
    "moe",
)
NO_GRAPH = {"model.layer.name": "none", "model.layer.options": {}}
PLACED = ("before", "after", "interleaved")
SPACE = {  # with `tuned`; all of them numbers that a compiled program is told, so that all trials are one
    "optimizer.learning_rate": (3e-4, 3e-2, "log"),
    "model.rate": (0.0, 0.5, "linear"),
}
TRIALS = 6


def get_config(arg: str = ""):
    """`arg` may hold, comma-separated: match, small, tuned, core, digits, rosmap, watch, and what every study takes."""
    parts = arg.split(",")
    config = defaults.get_config(arg, words=(*DATA, "match", "small", "tuned", "core"))
    config.model.dim = 32
    config.model.layer.name = "sgc"
    with config.model.layer.options.unlocked():
        config.model.layer.options.hops = 4
    config.optimizer.learning_rate = 2e-3
    epochs = 150, 40, 25
    if set(DATA) & set(parts) == {"digits"}:  # as in digits.py: twenty labels have to reach 1,797 nodes
        config.model.layer.options.hops, config.model.layers = 12, 1
        config.optimizer.learning_rate = 1e-2
        epochs = 60, 16, 20
    if "quick" not in parts:
        config.training.epochs, config.training.patience, config.training.chunk = epochs
    config.training.select_every = 2
    if "match" in parts:
        config.size.like = "concat_mlp"
    return config


def sweep(add, arg: str = ""):
    parts = set(arg.split(","))
    tuned = dict(tune=SPACE, trials=TRIALS) if "tuned" in parts else {}
    for data in [d for d in DATA if d in parts] or DATA:
        for fusion in CORE if "core" in parts else (*BASELINES, *TOKENS, *COMPETITORS):
            for placement in PLACED[:2] if "core" in parts else PLACED:
                there = placement in zoo.get("fusion", fusion).placements
                if there and not ("match" in parts and (data, fusion, placement) in UNMATCHED):
                    add(DATA[data] | cell(data, fusion, placement, parts), **tuned)
        for fusion in ("concat_mlp", "late_transformer"):
            add(DATA[data] | cell(data, fusion, "before", parts) | NO_GRAPH, label=f"{fusion}, no graph", **tuned)
        for control in ("label_propagation", "logistic_regression", "rbf_svm"):
            add(DATA[data] | {"control.name": control})


def cell(data: str, fusion: str, placement: str, parts: set[str]) -> dict:
    """What is a cell's own beside its data set."""
    own = {"model.fusion.name": fusion, "model.placement": placement}
    options = SMALLER.get(fusion, {}) if parts & {"small", "match"} else {}
    if "match" in parts:
        options = options | FINER.get(fusion, {}) | (WATCH.get(fusion, {}) if data == "watch" else {})
    if options:
        own["model.fusion.options"] = options
    if "views" in zoo.get("fusion", fusion).info.needs:
        own["data.views"] = VIEWS[data]
    if fusion in RATES:
        own["optimizer.learning_rate"] = RATES[fusion]
    return own
