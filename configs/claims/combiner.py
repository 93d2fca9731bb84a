"""Combiner: full attention capability at sparse cost (Ren et al., 2021).

The paper's claim, that every position sees every other although most are seen as summaries, is asked twice: where the
class of a node stands eight edges away, against message passing of as many parameters; and against attention that
looks at every node by itself, to which it should be equal.
"""

from fusion_jax.study import defaults

OF = ("layer", "combiner")
SETTING = (
    "Planted trees (synthetic_reach, distance 8, 300 graphs), two layers, 12,000 parameters, against two layers of gcn "
    "and two of exact attention over all nodes; the paper has autoregressive text and images of up to 12,288 positions "
    "and measures perplexity."
)
OPTIONS = {"distance": 8, "graphs": 300}


def get_config(arg: str = ""):
    config = defaults.get_config(arg)
    config.data.name = "synthetic_reach"
    config.model.rate = 0.0
    config.optimizer.learning_rate = 5e-3
    config.size.parameters = 12_000
    if "quick" not in arg.split(","):
        config.training.epochs, config.training.patience, config.training.chunk = 150, 60, 30
    config.training.select_every = 2
    return config


def sweep(add):
    for layer, options in {"gcn": {}, "combiner": {}, "long_sequence_unified": {"residual": True}}.items():
        add({"data.options": OPTIONS, "model.layer.name": layer, "model.layer.options": options}, label=layer)


def claims():
    return [
        dict(claim="combiner reads what message passing of two layers cannot", better="combiner", than="gcn", by=0.2),
        dict(
            claim="combiner is as good as exact attention over all nodes",
            better="combiner",
            than="long_sequence_unified",
            equivalent=0.03,
        ),
    ]
