"""MEFN (2024): every modality's prediction is an opinion with an uncertainty; Dempster's rule combines them.

The paper says that fusion which knows how unsure each modality is predicts better than fusion that does not, and that
its result can be trusted. Asked where noise makes now one modality sure and now another: against the mean of the
modalities' probabilities.
"""

from fusion_jax.study.claim_files import minutes

OF = (("fusion", "mefn"), ("loss", "evidential"))
OPINIONS = dict(
    modalities=4, classes=4, redundant=0.0, unique=0.7, synergy=0.0, noise=0.5, homophily=0.25, train=0.3, nodes=1000
)
SETTING = (
    "Planted nodes (synthetic, 1,000, four modalities with a noisy copy of the class each), no edges, width 32, an MLP "
    "a modality, beside the mean of their probabilities (the same MLPs), without the paper's calibration of features; "
    "the paper has tumours in PET and CT and measures the overlap of voxels (Dice)."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": OPINIONS,
        "model.dim": 32,
        "model.layer.name": "none",
        "model.placement": "decision",
        "model.rate": 0.2,
        "training.select": "loss",
    }
    return minutes(arg, changes, epochs=120)


def sweep(add):
    own = {"model.fusion.name": "mefn", "loss.name": "evidential", "loss.options": {"annealing": 1.0}}
    add(own, label="mefn")
    add({"model.fusion.name": "late_probabilities"}, label="mean of probabilities")


def claims():
    better, than = "mefn", "mean of probabilities"
    return [
        dict(claim="Dempster's rule predicts better than the mean of probabilities", better=better, than=than),
        dict(claim="its errors stand among the nodes it is least sure of", better=better, than=than, metric="aurc"),
    ]
