"""Perceiver IO (Jaegle et al., 2021): a few latents read the input once, and all work is done among them.

The paper says that such a model is as good as a transformer over all tokens, at a cost that is linear in their number.
Asked where the tokens are eight modalities and two latents have to hold them.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "perceiver_io")
EIGHT = dict(modalities=8, classes=4, redundant=0.0, unique=0.4, synergy=0.0, homophily=0.25, train=0.3, nodes=1000)
SETTING = (
    "Planted nodes (synthetic, 1,000, four classes, eight modalities of which each tells the class in .55 of the "
    "nodes), no edges, two latents, 16,000 parameters, beside a transformer over the modalities of a node; the paper "
    "has bytes of text (GLUE), images and optical flow, and hundreds of latents."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": EIGHT,
        "model.layer.name": "none",
        "model.layers": 1,
        "model.rate": 0.1,
        "optimizer.learning_rate": 2e-3,
        "size.parameters": 16_000,
    }
    return minutes(arg, changes, epochs=120)


def sweep(add):
    two = {"latents": 2, "heads": 2}
    add({"model.fusion.name": "perceiver_io", "model.fusion.options": two}, label="two latents")
    all_of_them = {"model.fusion.name": "late_transformer", "model.fusion.options": {"layers": 2, "heads": 2}}
    add(all_of_them, label="all tokens")


def claims():
    return [
        dict(
            claim="two latents that read the tokens once are as good as attention over all tokens",
            better="two latents",
            than="all tokens",
            equivalent=0.03,
        )
    ]
