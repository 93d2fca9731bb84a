"""Deeper or wider at the same number of parameters? A grid of depths and sizes for the analysis `depth_efficiency`.

    python -m experiments.sweep --config=configs/ablations/depth.py --workdir=results/depth
    python -m experiments.analyse --workdir=results/depth --analysis=depth_efficiency

After Levine et al., "Limits to Depth Efficiencies of Self-Attention", NeurIPS 2020: depths of `DEPTHS` blocks of
`node_token`, each at the widest width whose blocks, 12 L d^2 parameters, are within `SIZES`. The data are planted so
that depth is of use: a node's three modalities point at one another, and the class is what stands at the end (the best
classifier has .99, who reads one modality .50, two .75). No edges: whatever is found is found by the fusion. With
`digits`, real data, where little has to be followed.

One learning rate for all: of a depth that looks bad it is open whether its own rate would have helped (tuning it with
`experiments.tune` gives every row as many trials).
"""

from fusion_jax.analysis.depth_efficiency.rule import width_within
from fusion_jax.study import defaults

DEPTHS = (1, 2, 4)
SIZES = (3_000, 7_500, 19_000)  # parameters of the blocks


def get_config(arg: str = ""):
    """`arg` may hold, comma-separated: digits, and what every study takes."""
    config = defaults.get_config(arg, words=("digits",))
    if "digits" not in arg.split(","):
        config.data.name = "synthetic_bands"
        config.data.options = dict(nodes=800, modalities=3, band=0.0, effort=1.0, deep=0.75)
    config.model.fusion.name = "node_token"
    config.model.layer.name = "none"
    config.model.layers = 0
    config.model.rate = 0.1
    config.optimizer.learning_rate = 2e-3
    if "quick" not in arg.split(","):
        config.seeds = 6
        config.training.epochs, config.training.patience, config.training.chunk = 100, 40, 20
    return config


def sweep(add):
    for depth in DEPTHS:
        for size in SIZES:
            width = width_within(size, depth)
            own = {"model.fusion.options": {"blocks": depth, "heads": 1}, "model.dim": width}
            add(own, label=f"{depth} blocks of width {width}")
