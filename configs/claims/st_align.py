"""ST-Align (2024): modalities of a spot are aligned with each other and with those of its niche.

The paper says that three targets, image with gene at a spot, the same in its neighbourhood, and the fused spot with the
fused neighbourhood, give better features than aligning the modalities of a spot alone, and than none. Asked where
labels are few and neighbours are alike.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "st_align")
SPOTS = dict(modalities=2, classes=4, redundant=0.4, unique=0.3, synergy=0.0, noise=0.3, homophily=0.8, train=0.06)
OPTIONS = {"tokens": 4, "heads": 2, "head_dim": 16}
SETTING = (
    "Planted nodes (synthetic, 800, 48 labels, four of five edges within a class), width 32, no message passing, "
    "aligned while it is trained, all that predicts alike in the rows; the paper pretrains on 1.3 million spots of 573 "
    "slides and finds domains without labels."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": SPOTS | {"nodes": 800, "val": 0.1},
        "model.dim": 32,
        "model.fusion.name": "st_align",
        "model.fusion.options": OPTIONS,
        "model.layer.name": "none",
        "model.layers": 1,
        "model.rate": 0.2,
    }
    return minutes(arg, changes, epochs=80)


def sweep(add):
    add({}, label="three targets")
    add({"model.fusion.options": OPTIONS | {"alpha": 1.0, "beta": 0.0}}, label="spots alone")
    add({"model.fusion.options": OPTIONS | {"alignment": 0.0}}, label="not aligned")


def claims():
    better = "three targets"
    return [
        dict(claim="aligning niches too beats aligning spots alone", better=better, than="spots alone"),
        dict(claim="alignment of spots and niches beats none", better=better, than="not aligned"),
    ]
