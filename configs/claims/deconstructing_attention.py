"""Deconstructing attention (Xue et al., 2025): which of its principles attention needs, and where.

The paper says that tokens have to see each other, that weights which do not depend on the input are nearly as good
where every second layer keeps standard attention, and that the exact softmax is not what matters. Asked of fusion: the
modalities of a node are the tokens.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "deconstructing_attention")
PARITY = dict(modalities=2, classes=4, redundant=0.0, unique=0.0, synergy=1.0, homophily=0.25, train=0.5, nodes=800)
SETTING = (
    "The sum modulo 4 of a symbol in each of two modalities (synthetic, 800 nodes), four layers of width 48, all rows "
    "of as many parameters, no edges; the paper has language models of 70M to 1.7B parameters and zero-shot accuracy."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": PARITY,
        "model.dim": 48,
        "model.fusion.name": "deconstructing_attention",
        "model.fusion.options": {"layers": 4, "rate": 0.0},
        "model.layer.name": "none",
        "model.rate": 0.2,
        "optimizer.learning_rate": 1e-3,
    }
    return minutes(arg, changes, epochs=120)


def sweep(add):
    add({}, label="standard")
    for mixer, layers in (("mlp", "uniform"), ("fixed_seq_qk", "hybrid"), ("approximate", "uniform")):
        add({"model.mixer.name": mixer, "model.mixer.layers": layers}, label=f"{mixer}, {layers}")


def claims():
    fixed, taylor = "fixed_seq_qk, hybrid", "approximate, uniform"
    return [
        dict(claim="tokens have to see each other", better="standard", than="mlp, uniform", by=0.05),
        dict(claim="weights fixed in every second layer are as good", better=fixed, than="standard", equivalent=0.03),
        dict(claim="the softmax can be approximated everywhere", better=taylor, than="standard", equivalent=0.03),
    ]
