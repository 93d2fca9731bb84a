"""FSATFusion (2025): features are gated by their coefficients at several frequencies, between blocks of attention.

The paper makes gates of the features from cosines of several frequencies, of which the usual mean is the lowest, and
says that attention gated by frequency and surroundings fuses better than networks of convolutions or attention. Asked
of the classes of small graphs, half of which lies in how their edges run.
"""

from fusion_jax.study.claim_files import minutes

OF = (("fusion", "fsatfusion"), ("layer", "fsatfusion"))
OPTIONS = {"heads": 2, "reduction": 4, "coefficients": "mean", "frequencies": 8}
SETTING = (
    "Planted trees of 8 to 12 nodes (synthetic_graphs, 240, a motif of the edges and a sign that both modalities hold "
    "together), the eight lowest eigenvectors for the paper's sixteen cosines, two blocks, 12,000 parameters, beside "
    "the lowest alone and two layers of gat; the paper has infrared and visible images, no labels and fidelity scores."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_graphs",
        "data.options": {"graphs": 240, "train": 0.5},
        "model.dim": 18,  # where the search for the size begins
        "model.fusion.name": "fsatfusion",
        "model.fusion.options": OPTIONS,
        "model.layer.name": "none",
        "model.layers": 1,
        "model.rate": 0.1,
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=100)


def sweep(add):
    add({}, label="fsatfusion")
    add({"model.fusion.options": OPTIONS | {"frequencies": 1}}, label="the mean alone")
    edges = {"model.layer.name": "gat", "model.layers": 2, "model.fusion.name": "concat_mlp"}
    add(edges | {"model.fusion.options": {}}, label="attention alone")


def claims():
    return [
        dict(claim="gates of several frequencies beat gates of the mean", better="fsatfusion", than="the mean alone"),
        dict(
            claim="attention gated by frequency and surroundings beats attention alone",
            better="fsatfusion",
            than="attention alone",
        ),
    ]
