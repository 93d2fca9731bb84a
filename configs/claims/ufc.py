"""UFC (Hong et al., 2024): features of two images and the cost between them are refined together.

The paper says that aggregating features and matching cost jointly, each guiding the other, beats attention over the
features alone, and that the cost should be refined by what features have become. Asked of two views of digits with few
labels, whose parts that look alike can tell each other.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "ufc")
OPTIONS = {"parts": 16, "heads": 2, "layers": 2}
SETTING = (
    "Digits (1,797 nodes, two views, two labels a class), 16 parts of the graph for a grid of 16 x 16, one resolution, "
    "one layer of gcn behind, 30,000 parameters, beside linear attention over the tokens of both views and the same "
    "without the last refinement of the cost; the paper has pairs of images and counts points that are matched."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "digits",
        "data.modalities": ("fourier", "profiles"),
        "model.dim": 24,  # where the search for the size begins
        "model.fusion.name": "ufc",
        "model.fusion.options": OPTIONS,
        "model.layers": 1,
        "size.parameters": 30_000,
    }
    return minutes(arg, changes, epochs=60)


def sweep(add):
    add({}, label="ufc")
    add({"model.fusion.options": OPTIONS | {"refine": False}}, label="cost not refined")
    features = {"mixer": "linear", "heads": 2, "residual": True}
    alone = {"model.fusion.name": "long_sequence_unified", "model.fusion.options": features}
    add(alone, label="features alone")


def claims():
    return [
        dict(
            claim="features refined together with their cost beat features alone", better="ufc", than="features alone"
        ),
        dict(claim="a cost refined by new features is better", better="ufc", than="cost not refined"),
    ]
