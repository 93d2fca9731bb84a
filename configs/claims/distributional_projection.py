"""Self-attention as distributional projection (Mehta, 2025): scores are the co-occurrence of what stands in a sequence.

The paper derives attention by projecting a table of co-occurrences to the tokens of a context, and has no experiment.
If that is what queries and keys are for, those that begin as this projection are better than those drawn at random.
Asked where labels are few and modalities share a symbol; nothing else of the model begins in another way.
"""

from fusion_jax.study.claim_files import minutes

OF = ("scheme", "distributional_projection")
SETTING = (
    "Planted nodes (synthetic, 1,200, 240 of them for training, three modalities that share a noisy symbol, eight "
    "prototypes each), attention over a node's modalities of width 32 before one layer of gcn; the paper is "
    "mathematics of words in sentences, and that a model may begin so is ours."
)


def get_config(arg: str = ""):
    symbols = dict(redundant=0.4, unique=0.2, synergy=0.0)
    changes = {
        "data.name": "synthetic",
        "data.options": dict(noise=0.5, train=0.2, **symbols),
        "model.dim": 32,
        "model.fusion.name": "self_attention",
        "model.layers": 1,
        "model.rate": 0.2,
    }
    return minutes(arg, changes, epochs=100)


def sweep(add):
    options = {"prototypes": 8, "relation": "symmetric", "values": False}
    add({"scheme.name": "distributional_projection", "scheme.options": options}, label="co-occurrence")
    add({}, label="random")


def claims():
    claim = "queries and keys that begin as co-occurrence beat random ones"
    return [dict(claim=claim, better="co-occurrence", than="random")]
