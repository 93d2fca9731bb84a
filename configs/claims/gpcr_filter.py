"""GPCR-Filter (2026): a graph reads a sequence, one layer of gcn and then a transformer decoder.

The paper says that ligand atoms which read the residues of the receptor by cross-attention find interactions better
than published predictors, one of which encodes both apart and compares them at the end. Asked where the anchor modality
has to be read over the graph, and of the other modalities that one which can be trusted.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "gpcr_filter")
BOTH = dict(modalities=4, classes=3, band=0.6, frequency="low", nuisance=2.0, reliability=0.8, nodes=960, homophily=0.0)
SETTING = (
    "Planted nodes (synthetic_bands, 960, four modalities: the groups of a graph have part of the class, one modality "
    "that another points out has more), one layer of sage behind, 30,000 parameters, beside concat_mlp; the paper has "
    "91,396 pairs of ligands and receptors, frozen vectors of residues, and published predictors beside it."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_bands",
        "data.options": BOTH,
        "model.layer.name": "sage",
        "model.layers": 1,
        "model.rate": 0.1,
        "optimizer.learning_rate": 1e-3,
        "size.parameters": 30_000,
    }
    return minutes(arg, changes, epochs=150)


def sweep(add):
    add({"model.fusion.name": "gpcr_filter", "model.fusion.options": {"heads": 2}}, label="gpcr_filter")
    add({"model.fusion.name": "concat_mlp"}, label="concat_mlp")


def claims():
    return [
        dict(
            claim="a vector of the graph that reads the other modalities by cross-attention beats concatenation",
            better="gpcr_filter",
            than="concat_mlp",
        )
    ]
