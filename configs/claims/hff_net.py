"""HFF-Net (2025): low and high frequencies in branches of their own, gated band by band.

The paper says that a network which takes low and high frequencies apart, and attends to the spectrum of each, segments
better than those that convolve the images as they are, most of all where details decide. Asked where the class of a
node is in a detail band of the graph, under something large that all of a group share.
"""

from fusion_jax.study.claim_files import minutes

OF = (("fusion", "hff_net"), ("encoder", "laplacian_pyramid"))
BAND = dict(modalities=2, classes=4, nuisance=8.0, noise=0.4)
SETTING = (
    "Planted groups (synthetic_bands, band, 720 nodes, two modalities), bands of the Laplacian for wavelets and "
    "contourlets, four levels, 12,000 parameters, trained in one go, beside the same bands joined linearly and two "
    "layers of sage, which can subtract the neighbours' mean; the paper has brain tumours in four sequences of MRI, a "
    "reset of weights behind 40 epochs, and Dice scores."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_bands",
        "data.options": BAND | {"nodes": 720},
        "model.dim": 26,  # where the search for the size begins
        "model.fusion.name": "concat_linear",
        "model.layer.name": "none",
        "model.rate": 0.2,
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=100)


def sweep(add):
    add({"model.fusion.name": "hff_net"}, label="hff_net")
    add({"model.encoder.name": "laplacian_pyramid"}, label="bands without attention")
    add({"model.layer.name": "sage"}, label="convolutions")


def claims():
    return [
        dict(claim="bands in branches of their own beat convolutions", better="hff_net", than="convolutions"),
        dict(claim="attention to the bands beats the bands alone", better="hff_net", than="bands without attention"),
    ]
