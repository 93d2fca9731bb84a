"""DFYP (2025): channels gated, sharpened by an edge operator, and read by a local and a global branch that are added.

The paper says that local details and the context of the whole field have to be modelled together: a convolutional and
a transformer branch, joined by learned weights, predict yields better than networks of either kind. Asked of a
regression in which neighbours tell more of a node than its own noisy modalities do.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "dfyp")
OPTIONS = {"depth": 2, "heads": 2, "rate": 0.1}
SETTING = (
    "Planted values (synthetic_values, 500 nodes, a product and a sum of what two modalities hold), 12,000 parameters, "
    "one operator learnt for the one graph, beside two layers of sage and two of exact attention over all nodes; the "
    "paper has MODIS and Sentinel-2 images of counties, yields of several years and an operator chosen for each."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_values",
        "data.options": {"nodes": 500, "degree": 4},
        "model.rate": 0.0,
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=100)


def sweep(add):
    both = {"model.fusion.name": "dfyp", "model.fusion.options": OPTIONS, "model.layer.name": "none"}
    add(both, label="dfyp")
    add({"model.layer.name": "sage"}, label="local alone")
    attention = {"model.layer.name": "long_sequence_unified", "model.layer.options": {"residual": True, "heads": 2}}
    add(attention, label="global alone")


def claims():
    return [
        dict(claim="a local and a global branch beat local layers alone", better="dfyp", than="local alone"),
        dict(claim="a local and a global branch beat global layers alone", better="dfyp", than="global alone"),
    ]
