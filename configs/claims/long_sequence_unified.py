"""Long sequences, one template (long-sequence-unified): all tokens as one sequence, whatever mixes them.

The paper says that attention and its linear form are instances of one template, and scales the exact one by computing
it in blocks and over devices. Asked: all (node, modality) tokens as one sequence reach what message passing of as many
layers cannot, and the linear mixer, which costs N and not N^2, is as good.
"""

from fusion_jax.study.claim_files import minutes

OF = (("layer", "long_sequence_unified"), ("fusion", "long_sequence_unified"))
SETTING = (
    "Planted trees (synthetic_reach, distance 4, 300 graphs), two layers, 12,000 parameters; the paper times long "
    "sequences on four GPUs."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_reach",
        "data.options": {"distance": 4, "graphs": 300},
        "model.rate": 0.0,
        "optimizer.learning_rate": 5e-3,
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=150)


def sweep(add):
    add({"model.layer.name": "gcn"}, label="gcn")
    for mixer in ("softmax", "linear"):
        options = {"residual": True, "mixer": mixer}
        add(
            {"model.layer.name": "long_sequence_unified", "model.layer.options": options},
            label=f"one sequence, {mixer}",
        )


def claims():
    softmax, linear = "one sequence, softmax", "one sequence, linear"
    return [
        dict(
            claim="all nodes as one sequence reach what two rounds of messages cannot",
            better=softmax,
            than="gcn",
            by=0.2,
        ),
        dict(claim="the linear mixer is as good as softmax attention", better=linear, than=softmax, equivalent=0.03),
    ]
