"""Flickerformer (2026): frames are filtered, frequency by frequency, by how their phases agree with a reference's.

The paper says that phase correlation tells which parts of the other frames go with the reference, and that gates made
of it fuse frames better than their concatenation. Asked where phases are what tells: the other modalities are the first
one moved along the columns, by as much as the class says.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "flickerformer")
PHASE = dict(modalities=3, classes=3, dim=32, band=0.0, phase=1.0, noise=0.5)
HIDDEN = 79  # of the concatenation: 10,223 parameters beside 10,214 of the gates and what follows them
SETTING = (
    "Planted signals (synthetic_bands, phase, 1,200 nodes, three modalities of 32 columns as they are), no edges, two "
    "layers behind the fusion, all rows of as many parameters, beside gates of the correlation's absolute value, in "
    "which no phase is left, and an MLP of the concatenation; the paper has bursts of three images that flicker, and "
    "phases along their two axes."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_bands",
        "data.options": PHASE | {"nodes": 1200},
        "model.dim": 32,
        "model.encoder.name": "identity",
        "model.fusion.name": "flickerformer",
        "model.layer.name": "none",
        "model.rate": 0.2,
    }
    return minutes(arg, changes, epochs=150)


def sweep(add):
    add({}, label="gates of phases")
    add({"model.fusion.options": {"correlation": "abs"}}, label="gates without phases")
    add({"model.fusion.name": "concat_mlp", "model.fusion.options": {"hidden": HIDDEN}}, label="concatenation")


def claims():
    better = "gates of phases"
    return [
        dict(claim="gates of how phases agree beat gates without phases", better=better, than="gates without phases"),
        dict(claim="gates of how phases agree beat concatenation", better=better, than="concatenation"),
    ]
