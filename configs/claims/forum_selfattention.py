"""Feature fusion with self-attention (forum thread): the modalities of a node as tokens that attend to each other.

The thread says that a node must know which of its modalities to attend to, and that self-attention over them, reduced
to one vector, or read by a token of the node as in BERT, should do better than concatenation and an MLP. Asked where
every node has one modality to trust and another tells which.
"""

from fusion_jax.study.claim_files import minutes

OF = (("fusion", "self_attention"), ("fusion", "node_token"))
TRUST = dict(modalities=4, classes=3, band=0.0, reliability=1.0, nodes=1000)
SETTING = (
    "Planted nodes (synthetic_bands, reliability, 1,000, four modalities, one holds the class and the next a mark that "
    "says so), no edges, 12,000 parameters, beside concat_mlp; the thread has no data and no results."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_bands",
        "data.options": TRUST,
        "model.layer.name": "none",
        "model.rate": 0.1,
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=150)


def sweep(add):
    add({"model.fusion.name": "self_attention"}, label="self-attention")
    add({"model.fusion.name": "node_token", "model.fusion.options": {"heads": 2}}, label="node token")
    add({"model.fusion.name": "concat_mlp"}, label="concat_mlp")


def claims():
    return [
        dict(claim="self-attention over modalities beats an MLP of them", better="self-attention", than="concat_mlp"),
        dict(claim="a node token in blocks of attention beats an MLP", better="node token", than="concat_mlp"),
    ]
