"""Primal-Attention (Chen et al., 2023): self-attention as an asymmetric kernel machine, solved in its primal.

The paper says that projection scores of linear cost do what softmax attention does, or better, and that the term which
asks for the kernel's singular vectors helps. Asked on all (node, modality) tokens of a set of digits.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "primal_attention")
SETTING = (
    "Digits (1,797 nodes, four views, two labels a class), all tokens as one sequence before one layer of gcn, 40,000 "
    "parameters, beside softmax attention over the same tokens and the same without the term; the paper has time "
    "series (UEA), long sequences (LRA), reinforcement learning and text."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "digits",
        "model.fusion.name": "primal_attention",
        "model.fusion.options": {"heads": 4, "samples": 128},
        "model.layers": 1,
        "size.parameters": 40_000,
    }
    return minutes(arg, changes, epochs=60)


def sweep(add):
    add({}, label="primal attention")
    add({"model.fusion.options": {"heads": 4, "samples": 128, "eta": 0.0}}, label="without the term")
    softmax = {"model.fusion.name": "long_sequence_unified", "model.fusion.options": {"residual": True}}
    add(softmax, label="softmax attention")


def claims():
    return [
        dict(
            claim="primal attention is as good as softmax attention over all tokens",
            better="primal attention",
            than="softmax attention",
            equivalent=0.03,
        ),
        dict(claim="the term of the singular vectors helps", better="primal attention", than="without the term"),
    ]
