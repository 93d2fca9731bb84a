"""Probing inter-modality (Xue et al., 2021): attention within a modality first, and groups of tokens to regress.

The paper says that self-attention among the tokens of the visual stream, before the streams meet, is better than an
encoder that knows no relations, and that the regression of masked groups of features, chosen by that attention, helps.
Asked of nodes whose neighbours tell the class, with message passing behind the fusion in every row.
"""

from fusion_jax.study.claim_files import minutes

OF = (("encoder", "probing_inter_modality"), ("loss", "probing_inter_modality"))
SETTING = (
    "Planted nodes (synthetic, 800, 160 of them for training, two modalities, three of four edges within a class), one "
    "transformer layer over a node's modalities before one layer of gcn, 15,000 parameters, all modalities parsed; the "
    "paper has images and captions, a Swin transformer, pre-training on COCO and Visual Genome, and answers questions "
    "about images."
)


def get_config(arg: str = ""):
    symbols = dict(redundant=0.3, unique=0.4, synergy=0.0)
    changes = {
        "data.name": "synthetic",
        "data.options": dict(nodes=800, modalities=2, homophily=0.75, train=0.2, **symbols),
        "model.fusion.name": "late_transformer",
        "model.fusion.options": {"layers": 1, "heads": 2},
        "model.layers": 1,
        "model.rate": 0.2,
        "size.parameters": 15_000,
    }
    return minutes(arg, changes, epochs=100)


def sweep(add):
    parsing = {"model.encoder.name": "probing_inter_modality"}
    masked, plain = ({"model.encoder.options": {"heads": 2, "rate": rate}} for rate in (0.05, 0.0))
    add(parsing | masked | {"loss.extra": {"probing_inter_modality": 0.1}}, label="parsing and regression")
    add(parsing | plain, label="parsing")
    add({}, label="no parsing")


def claims():
    return [
        dict(claim="attention within a modality before the fusion helps", better="parsing", than="no parsing"),
        dict(claim="regression of masked groups helps", better="parsing and regression", than="parsing"),
    ]
