"""HistoGraph (Galron et al., 2026): a readout that looks at what nodes were in every layer, not in the last alone.

The paper says that deep graph networks lose what their early layers knew (on Cora a gcn falls from 81.1 at two layers
to 69.5 at eight and 60.3 at 32), and that signed attention over the layers, then attention between nodes, keeps it
(80.7 and 80.6). Asked at sixteen layers of gcn.
"""

from fusion_jax.study.claim_files import minutes

OF = ("readout", "histograph_node")
SETTING = (
    "Planted nodes (synthetic, 600, four classes, eight of ten edges within a class, a fifth of the nodes labelled), "
    "8,400 parameters, beside sixteen and two layers read from the last; the paper has 2 to 64 layers on Cora, "
    "CiteSeer and PubMed."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": dict(
            modalities=2, classes=4, redundant=0.5, unique=0.2, synergy=0.0, homophily=0.8, train=0.2, nodes=600
        ),
        "model.layers": 16,
        "model.rate": 0.1,
        "size.parameters": 8_400,
    }
    return minutes(arg, changes, epochs=120)


def sweep(add):
    read = {"model.readout.name": "histograph_node", "model.readout.options": {"guard": 1e-6}}
    add(read, label="16 layers, histograph")
    add({}, label="16 layers")
    add({"model.layers": 2}, label="2 layers")


def claims():
    deep = "16 layers, histograph"
    return [
        dict(claim="the history of layers keeps what deep layers lose", better=deep, than="16 layers", by=0.05),
        dict(claim="sixteen layers with it are as good as two", better=deep, than="2 layers", equivalent=0.03),
    ]
