"""GCAV (He et al., 2025): one concept vector for all layers of a network.

The paper says that how much a class leans on a concept, scored layer by layer, varies over the layers less with vectors
decoded from one global vector than with a vector of each layer's own. Asked of what a model of six states makes of
nodes that lack a modality, and of nodes with many neighbours.
"""

from fusion_jax import zoo
from fusion_jax.study.claim_files import minutes

OF = ("analysis", "gcav")
SETTING = (
    "Planted nodes (synthetic, 800, three modalities, each missing at three of ten nodes), self-attention over "
    "modalities with two layers of gcn at width 24, concepts `missing:m0` and `degree`, five vectors each; the error "
    "is the deviation of the scores from their mean over the layers, the mean over the two concepts; the paper has "
    "GoogleNet, ResNet and MobileNet with concepts of textures."
)
MEASURED = {"one vector": "model", "a vector a layer": "model"}
QUANTITY = "deviation over layers"
SCORES = {"one vector": "tgcav", "a vector a layer": "tcav"}


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": dict(nodes=800, modalities=3, classes=3, missing=0.3),
        "model.fusion.name": "self_attention",
        "model.layer.name": "gcn",
        "model.dim": 24,
    }
    return minutes(arg, changes, epochs=100)


def sweep(add):
    add({}, label="model")


def measured(cells):
    """The root of the mean squared deviation of the scores from their mean over the layers."""
    cell, found = cells["model"], {row: {"rmse": {}} for row in MEASURED}
    first = next(iter(cell.prepared.batch.features))
    for place, seed in enumerate(cell.seeds):
        asked = dict(concepts=(f"missing:{first}", "degree"), repeats=5)
        summary = zoo.get("analysis", "gcav")(cell, place, **asked).tables["summary"]
        for row, score in SCORES.items():
            own = summary[(summary.score == score) & (summary.concept != "random")]
            found[row]["rmse"][seed] = float(own["std"].mean())
    return found


def claims():
    claim = "what a class leans on varies less over the layers with one vector of a concept than with a vector a layer"
    return [dict(claim=claim, better="one vector", than="a vector a layer", metric="rmse")]
