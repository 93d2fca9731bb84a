"""ADEM-VL (Hao et al., 2024): cross-attention without projections, embedded in the layers of the host.

The paper says that a host reads vision tokens as well without projection matrices in the cross-attention as with them,
and that it helps to leave out, query by query, the tokens that are least relevant. Asked where half of the tokens, the
neighbours', tell nothing of the class and each of the others tells it half of the time.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "adem_vl")
TOKENS = dict(modalities=5, classes=4, redundant=0.0, unique=0.5, synergy=0.0, noise=0.3, homophily=0.25, train=0.4)
OPTIONS = {"layers": 1, "heads": 2, "drop_ratio": 0.3}
SETTING = (
    "Planted nodes (synthetic, 900, five modalities, ten tokens a node, of which three are dropped), one layer, 12,000 "
    "parameters, trained from the start, beside nothing dropped and a decoder layer with projections that reads the "
    "same modalities; the paper has a frozen language model, 320 tokens an image, of which a tenth is dropped, and "
    "ScienceQA."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": TOKENS | {"nodes": 900},
        "model.dim": 24,  # where the search for the size begins
        "model.fusion.name": "adem_vl",
        "model.fusion.options": OPTIONS,
        "model.layer.name": "none",
        "model.rate": 0.2,
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=100)


def sweep(add):
    add({}, label="adem_vl")
    add({"model.fusion.options": OPTIONS | {"drop_ratio": 0.0}}, label="nothing dropped")
    projected = {"model.fusion.name": "transformer_decoder_edges", "model.fusion.options": {"heads": 2}}
    add(projected, label="with projections")


def claims():
    return [
        dict(
            claim="cross-attention without projections is as good as with them",
            better="adem_vl",
            than="with projections",
            equivalent=0.03,
        ),
        dict(claim="it helps to drop the least relevant tokens of a node", better="adem_vl", than="nothing dropped"),
    ]
