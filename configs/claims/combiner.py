"""Combiner (Ren et al., 2021): full attention at the cost of a part of it.

The paper says that every position sees every other although most are seen as summaries, and that nothing is lost by
that. Asked twice: where the class of a node stands eight edges away, against message passing of as many parameters; and
against attention that looks at every node by itself, to which it should be equal.
"""

from fusion_jax.study.claim_files import minutes

OF = ("layer", "combiner")
SETTING = (
    "Planted trees (synthetic_reach, distance 8, 300 graphs), two layers, 12,000 parameters, beside two layers of gcn "
    "and two of exact attention over all nodes; the paper has autoregressive text and images of up to 12,288 positions "
    "and measures perplexity."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_reach",
        "data.options": {"distance": 8, "graphs": 300},
        "model.rate": 0.0,
        "optimizer.learning_rate": 5e-3,
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=150)


def sweep(add):
    for layer, options in {"gcn": {}, "combiner": {}, "long_sequence_unified": {"residual": True}}.items():
        add({"model.layer.name": layer, "model.layer.options": options}, label=layer)


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
