"""Which fusion, where, on one data set of your choice: five fusions before and after message passing, and controls.

    python -m experiments.sweep --config=configs/ablations/own.py --workdir=results/own \
        --config.data.name=tables --config.data.options.folder=DIR
    python -m experiments.sweep --config=configs/ablations/own.py:quick --workdir=results/quick

`tables` reads a folder of your own (`fusion_jax/data/making/folder.py` says which file is what); else the study is
of handwritten digits. The controls are for classes: `own.py:no_controls` where something else is predicted. Late
fusion, no graph and the graph alone come along. Settings are those of the quickstart; no row is tuned.
"""

from fusion_jax.study import defaults

WORDS = ("no_controls",)
FUSIONS = ("concat_mlp", "mean", "gmu", "self_attention", "lmf")
CONTROLS = ("label_propagation", "rbf_svm", "random_forest")


def get_config(arg: str = ""):
    config = defaults.get_config(arg, WORDS)
    config.data.scale = "column"
    config.model.dim = 32
    config.model.layer.name = "sage"
    config.model.rate = 0.2
    config.optimizer.learning_rate = 1e-2
    config.training.select_every = 2
    if "quick" not in arg:
        config.seeds = 10
        config.training.epochs, config.training.patience, config.training.chunk = 60, 20, 20
    return config


def sweep(add, arg: str = ""):
    for placement in ("before", "after"):
        for fusion in FUSIONS:
            add({"model.fusion.name": fusion, "model.placement": placement})
    add({"model.fusion.name": "late_logits", "model.placement": "decision"})
    no_graph = {"model.layer.name": "none", "model.layers": 1}
    add(no_graph | {"model.fusion.name": "concat_mlp"}, label="concat_mlp, no graph")
    add({"data.modalities": ("structure",), "model.fusion.name": "mean"}, label="graph only (no features)")
    for control in () if "no_controls" in arg else CONTROLS:
        add({"control.name": control})
