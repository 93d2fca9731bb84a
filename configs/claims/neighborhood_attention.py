"""Neighborhood attention (Hassani et al., 2023 and 2024): every token sees its k nearest ones, in batched products.

The first paper says that attention to what is near beats attention to all, whose places have to be learnt; the second
that gathered keys in batched matrix products give the same, faster. Asked on a graph whose neighbours tell the class:
against exact attention over all nodes, and against the same attention edge by edge (the time of both is in the table).
"""

from fusion_jax.study.claim_files import minutes

OF = ("layer", "neighborhood_attention")
SETTING = (
    "Planted nodes (synthetic, 800, half of what a node's modalities tell is noise, three of four edges within a "
    "class), windows of seven nodes, two layers, 12,000 parameters; the papers have images, windows of 7 x 7 to "
    "13 x 13, ImageNet accuracy, and kernels for GPUs that this one has not."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": {
            "nodes": 800,
            "redundant": 0.4,
            "unique": 0.0,
            "synergy": 0.0,
            "homophily": 0.75,
            "degree": 6,
        },
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=80)


def sweep(add):
    for form in ("table", "edges"):
        options = {"kernel_size": 7, "form": form}
        add({"model.layer.name": "neighborhood_attention", "model.layer.options": options}, label=f"nearest, {form}")
    options = {"residual": True}  # else what a node has of its own only asks
    add({"model.layer.name": "long_sequence_unified", "model.layer.options": options}, label="all nodes")


def claims():
    return [
        dict(
            claim="attention to the nearest nodes beats attention to all nodes",
            better="nearest, table",
            than="all nodes",
        ),
        dict(
            claim="gathered keys in batched products give what attention edge by edge gives",
            better="nearest, table",
            than="nearest, edges",
            equivalent=0.02,
        ),
    ]
