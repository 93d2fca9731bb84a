"""HaloNet (Vaswani et al., 2021): blocks of queries share one window, the block and a halo around it.

The paper says that sharing a window costs nothing against a window for every query, and that the halo is needed: blocks
alone do not see beyond their border. Asked on a graph whose neighbours tell the class and that no partition cuts
cleanly.
"""

from fusion_jax.study.claim_files import minutes

OF = ("layer", "halonet")
SETTING = (
    "Planted nodes (synthetic, 1,200, half of what a node's modalities tell is noise, three of four edges within a "
    "class), two layers, 12,000 parameters, beside blocks without a halo and gat, where every node has a window of its "
    "own; the paper has images and ImageNet accuracy."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": {"redundant": 0.4, "unique": 0.0, "synergy": 0.0, "homophily": 0.75, "degree": 6},
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=100)


def sweep(add):
    add({"model.layer.name": "halonet", "model.layer.options": {"hops": 1}}, label="halonet")
    add({"model.layer.name": "halonet", "model.layer.options": {"hops": 0}}, label="blocks without a halo")
    add({"model.layer.name": "gat"}, label="gat")


def claims():
    return [
        dict(claim="a halo of one hop beats blocks alone", better="halonet", than="blocks without a halo"),
        dict(
            claim="a window shared by a block is as good as a window of one's own",
            better="halonet",
            than="gat",
            equivalent=0.03,
        ),
    ]
