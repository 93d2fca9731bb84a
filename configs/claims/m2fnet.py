"""M2FNet (Chudasama et al., 2022): one modality is query and value, the others are keys, several times over.

The paper says that utterances of a dialogue are fused better by attention in which the other modalities only say where
to look than by concatenation, and that five such layers are better than one. Asked of nodes and their neighbours, of
whom most but not all are of the same class.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "m2fnet")
DIALOGUES = dict(modalities=3, classes=4, redundant=0.3, unique=0.4, synergy=0.0, homophily=0.7, nodes=800)
SETTING = (
    "Planted nodes (synthetic, 800, four classes, three modalities that each tell some of the class, seven of ten "
    "edges within a class), one layer of gcn in every modality before the fusion, 26,000 parameters, beside one layer "
    "of fusion attention and an MLP of the concatenation; the paper has dialogues (IEMOCAP, MELD) and a transformer a "
    "modality over each."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": DIALOGUES,
        "model.fusion.name": "m2fnet",
        "model.fusion.options": {"heads": 2, "layers": 5},
        "model.layers": 1,
        "model.placement": "after",
        "model.rate": 0.2,
        "optimizer.learning_rate": 1e-3,
        "size.parameters": 26_000,
    }
    return minutes(arg, changes, epochs=150)


def sweep(add):
    add({}, label="m2fnet")
    add({"model.fusion.options": {"heads": 2, "layers": 1}}, label="m2fnet, one layer")
    add({"model.fusion.name": "concat_mlp", "model.fusion.options": {}}, label="concat_mlp")


def claims():
    return [
        dict(
            claim="attention with the other modalities as keys beats concatenation", better="m2fnet", than="concat_mlp"
        ),
        dict(claim="five layers of it are better than one", better="m2fnet", than="m2fnet, one layer"),
    ]
