"""All-attention (Sukhbaatar et al., 2019): learned vectors among the keys take the place of the feed-forward layer.

The paper says that a layer of attention alone, with persistent vectors in its softmax, is as good as attention and
feed-forward of as many parameters, and that without both it is worse. Asked of fusion: the modalities of a node are the
tokens, and a part of the class is in a symbol that takes both of them.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "persistent_memory")
SETTING = (
    "Planted nodes (synthetic, 1,000, two modalities with redundant, unique and synergistic symbols: the best "
    "classifier .76, without the synergy .61), two layers, 32 vectors or a feed-forward of width 32, 9,000 parameters, "
    "no edges; the paper has language models of 18 and 36 layers with 1,024 and 2,048 vectors, and bits a character."
)
OPTIONS = {"layers": 2, "heads": 2, "rate": 0.1}


def get_config(arg: str = ""):
    symbols = dict(redundant=0.3, unique=0.3, synergy=0.6)
    changes = {
        "data.name": "synthetic",
        "data.options": dict(nodes=1000, modalities=2, classes=3, homophily=1 / 3, train=0.5, **symbols),
        "model.layer.name": "none",
        "model.layers": 1,
        "model.rate": 0.1,
        "size.parameters": 9_000,
    }
    return minutes(arg, changes, epochs=120)


def sweep(add):
    for persistent, label in ((32, "persistent vectors"), (0, "attention alone")):
        options = OPTIONS | {"persistent": persistent}
        add({"model.fusion.name": "persistent_memory", "model.fusion.options": options}, label=label)
    options = OPTIONS | {"hidden": 32}
    add({"model.fusion.name": "late_transformer", "model.fusion.options": options}, label="feed-forward")


def claims():
    better = "persistent vectors"
    return [
        dict(
            claim="persistent vectors are as good as a feed-forward layer",
            better=better,
            than="feed-forward",
            equivalent=0.03,
        ),
        dict(claim="without both, attention is worse", better=better, than="attention alone"),
    ]
