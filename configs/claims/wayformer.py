"""Wayformer (Nayakanti et al., 2022): one family of scene encoders, told apart by where modalities meet.

The paper says that early fusion, a single encoder over the tokens of all modalities, is the best of the family in spite
of its simplicity, and that latent queries cost nothing in quality. Asked of a node with its neighbours: against an
encoder a modality (late fusion), and against the same with fewer latents than tokens.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "wayformer")
SETTING = (
    "Planted nodes (synthetic, 600, two modalities with redundant, unique and synergistic symbols, three of four edges "
    "within a class), scenes of a node and at most seven neighbours (16 tokens; 6 latents), two layers, 10,900 "
    "parameters (within 5 %), no other message passing; the paper has trajectories (WOMD, Argoverse), hundreds of "
    "tokens and displacement errors."
)
OPTIONS = {"depth": 2, "heads": 2, "context": 8}


def get_config(arg: str = ""):
    symbols = dict(redundant=0.2, unique=0.3, synergy=0.5)
    changes = {
        "data.name": "synthetic",
        "data.options": dict(nodes=600, modalities=2, classes=3, homophily=0.75, degree=6, train=0.5, **symbols),
        "model.fusion.name": "wayformer",
        "model.layer.name": "none",
        "model.layers": 1,
        "model.rate": 0.1,
        "optimizer.learning_rate": 2e-3,
        "size.parameters": 10_900,
    }
    return minutes(arg, changes, epochs=80)


def sweep(add):
    for label, options in {"early": {}, "late": {"place": "late"}, "early, latents": {"latents": 6}}.items():
        add({"model.fusion.options": OPTIONS | options}, label=label)


def claims():
    return [
        dict(claim="early fusion beats late fusion", better="early", than="late"),
        dict(claim="latents are as good as all tokens", better="early, latents", than="early", equivalent=0.03),
    ]
