"""GL-DMNet (2025): modalities and what is fused of them attend to one another, by position and by channel.

The paper says that mutual attention over positions and over channels, side by side, beats adding the streams, and beats
the two one behind the other: three of the five rows of its ablation. Asked of nodes whose class both modalities, and
nodes that are alike, tell in part.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "gl_dmnet")
HELD = dict(modalities=2, classes=3, redundant=0.3, unique=0.4, synergy=0.0, noise=0.3, homophily=0.6, train=0.3)
SETTING = (
    "Planted nodes (synthetic, 500 in one graph, two modalities), two layers without edges behind the fusion, 12,000 "
    "parameters, one level; the paper has salient objects in images with depth, 64 to 4,096 positions at four levels, "
    "a decoder that joins them, and gains of .003 to .011 on NLPR."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": HELD | {"nodes": 500},
        "model.dim": 24,  # where the search for the size begins
        "model.fusion.name": "gl_dmnet",
        "model.layer.name": "none",
        "model.rate": 0.2,
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=80)


def sweep(add):
    for form, label in (("parallel", "side by side"), ("serial", "one behind the other"), ("none", "added")):
        add({"model.fusion.options": {"form": form}}, label=label)


def claims():
    return [
        dict(claim="mutual attention of modalities beats their sum", better="side by side", than="added"),
        dict(
            claim="attention by position and by channel is better side by side than one behind the other",
            better="side by side",
            than="one behind the other",
        ),
    ]
