"""Cross-attention of the Transformer's decoder (Vaswani et al., 2017): a query reads a memory by what is in it.

The paper says that attention alone, by which a query finds what it needs wherever it stands, does what fixed ways of
combining do not, and that several heads beat one. Asked where some modality says which one is to be read: a query made
of the node's mean reads the modalities, against the mean itself.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "transformer_decoder")
SETTING = (
    "Planted nodes (synthetic_bands, effort alone, 1,000, three modalities that point at each other: the best "
    "classifier .99, who reads one modality .50, two .75), one decoder layer before two layers without edges, 10,000 "
    "parameters; the paper has six layers of width 512, translation and BLEU."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_bands",
        "data.options": dict(nodes=1000, modalities=3, band=0.0, effort=1.0, deep=0.75),
        "model.layer.name": "none",
        "model.rate": 0.1,
        "size.parameters": 10_000,
    }
    return minutes(arg, changes, epochs=120)


def sweep(add):
    for heads in (4, 1):
        options = {"heads": heads}
        label = "four heads" if heads == 4 else "one head"
        add({"model.fusion.name": "transformer_decoder", "model.fusion.options": options}, label=label)
    add({"model.fusion.name": "mean"}, label="mean")


def claims():
    return [
        dict(claim="a query that reads the modalities beats their mean", better="four heads", than="mean"),
        dict(claim="four heads beat one", better="four heads", than="one head"),
    ]
