"""SelfDoc (Li et al., 2021): two streams, of which one gives the other its keys, and then its values.

The paper says that an encoder in which text and image of the same blocks direct each other's attention learns more from
a document than attention that does not cross. Asked of nodes and their neighbours: against streams that attend to
themselves alone until they are joined, and against joining them first, all with four rounds of attention along the
same edges.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "selfdoc")
BLOCKS = dict(modalities=2, classes=3, redundant=0.0, unique=0.5, synergy=0.0, homophily=0.7, nodes=800)
SETTING = (
    "Planted nodes (synthetic, 800, two modalities that err apart from each other, seven of ten edges within a class), "
    "four rounds of attention, 12,000 parameters, beside four layers of gat in each modality and four behind "
    "concat_mlp; the paper has scanned documents (FUNSD, RVL-CDIP) and pre-trains on 320,000 pages."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": BLOCKS,
        "model.rate": 0.1,
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=120)


def sweep(add):
    own = {"model.fusion.name": "selfdoc", "model.fusion.options": {"heads": 2}}
    add(own | {"model.layer.name": "none", "model.layers": 1}, label="selfdoc")
    gat = {"model.layer.name": "gat", "model.layer.options": {"heads": 2}, "model.layers": 4}
    add(gat | {"model.placement": "after"}, label="streams apart")
    add(gat, label="joined first")


def claims():
    return [
        dict(claim="streams that direct each other beat streams apart", better="selfdoc", than="streams apart"),
        dict(claim="streams that direct each other beat what is joined first", better="selfdoc", than="joined first"),
    ]
