"""MoH (Jin et al., 2024): heads of attention as experts, of which each token keeps its best.

The paper says that with half of the heads or three quarters of them attention is as good as with all, and that some of
the heads should always be on. Asked where nodes differ in which modality they have to read.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "moh")
SETTING = (
    "Planted nodes (synthetic_bands, effort, 1,000, four modalities, a modality points to the one that counts), no "
    "edges, width 32, eight heads of which two are always on and two are chosen, beside all eight (gated as well) and "
    "four chosen ones; the paper has ImageNet, image generation and LLaMA3-8B at many layers."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_bands",
        "data.options": dict(modalities=4, classes=3, band=0.0, effort=1.0, deep=0.5, nodes=1000),
        "model.dim": 32,
        "model.fusion.name": "moh",
        "model.fusion.options": {"heads": 8, "shared": 2, "routed": 2},
        "model.layer.name": "none",
        "model.rate": 0.1,
    }
    return minutes(arg, changes, epochs=150)


def sweep(add):
    add({}, label="half of the heads")
    add({"model.fusion.options": {"heads": 8, "shared": 2, "routed": 6}}, label="all heads")
    add({"model.fusion.options": {"heads": 8, "shared": 0, "routed": 4}}, label="half, none always on")


def claims():
    half = "half of the heads"
    return [
        dict(claim="half of the heads are as good as all", better=half, than="all heads", equivalent=0.03),
        dict(claim="heads that are always on help", better=half, than="half, none always on"),
    ]
