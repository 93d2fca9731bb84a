"""FE-LSD (2022): two streams modulate each other by gates of what they are together, and stay two.

The paper says that frames and events, each blurred or blind where the other is not, should exchange what they see
through gates of their joint features, and that this is better than adding the streams, plainly or each gated by itself.
Asked of two modalities of which each tells something alone and something only with the other.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "fe_lsd")
HELD = dict(modalities=2, classes=4, redundant=0.0, unique=0.5, synergy=0.5, noise=0.3, homophily=0.5, train=0.4)
SETTING = (
    "Planted nodes (synthetic, 1,000, two modalities, half of the edges within a class), the shallow fusion once, "
    "before a layer of sage, 12,000 parameters, beside the sum of the streams with a gate of each by itself and "
    "without; the paper has line segments in blurred images with events, the fusion at two depths and an hourglass."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": HELD | {"nodes": 1000},
        "model.fusion.name": "fe_lsd",
        "model.layer.name": "sage",
        "model.layers": 1,
        "model.rate": 0.2,
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=100)


def sweep(add):
    add({}, label="fe_lsd")
    add({"model.fusion.name": "fe_lsd_ca_fusion"}, label="each gated by itself")
    add({"model.fusion.name": "sum"}, label="added")


def claims():
    return [
        dict(
            claim="streams that modulate each other beat streams gated by themselves",
            better="fe_lsd",
            than="each gated by itself",
        ),
        dict(claim="streams that modulate each other beat their sum", better="fe_lsd", than="added"),
    ]
