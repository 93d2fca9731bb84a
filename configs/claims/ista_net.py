"""ISTA-Net (Wen et al., 2023): tokens that span time, joints and the entities which interact.

The paper says that tokens of all entities together find what is in their interaction, which tokens of one entity each
do not, and that attention over them is better than graph convolution. Asked where two modalities, the entities, tell
the class together: hops over the graph are the time.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "ista_net")
TOGETHER = dict(modalities=2, classes=2, redundant=0.3, unique=0.0, synergy=0.8, homophily=0.7, train=0.5, nodes=600)
BLOCKS = {"blocks": ((16, 4),)}
SETTING = (
    "Planted nodes (synthetic, 600, two modalities that tell the class together and little alone, seven of ten edges "
    "within a class), one block, two hops, width 16, beside tokens of one modality each and two layers of sage of as "
    "many parameters; the paper has skeletons of two people or hands (NTU, SBU, H2O, Assembly101) and eight blocks."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": TOGETHER,
        "model.dim": 16,
        "model.fusion.name": "ista_net",
        "model.fusion.options": BLOCKS,
        "model.layer.name": "none",
        "model.layers": 1,
        "model.rate": 0.1,
    }
    return minutes(arg, changes, epochs=100)


def sweep(add):
    add({}, label="tokens of both modalities")
    add({"model.fusion.options": BLOCKS | {"entity_window": 1}}, label="tokens of one modality")
    sage = {"model.fusion.name": "concat_mlp", "model.fusion.options": {}, "model.layer.name": "sage"}
    add(sage | {"model.layers": 2, "size.parameters": 6_700}, label="sage")


def claims():
    both = "tokens of both modalities"
    return [
        dict(claim="tokens that span both modalities beat tokens of one", better=both, than="tokens of one modality"),
        dict(claim="attention over such tokens beats graph convolution", better=both, than="sage"),
    ]
