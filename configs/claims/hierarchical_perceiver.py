"""Hierarchical Perceiver (Carreira et al., 2022): latents work in groups first, then all together.

The paper says that attention inside groups of tokens costs less and gives nothing away against latents that read all
tokens, and that masked auto-encoding makes it learn. Asked of the modalities of a node, four tokens each: a group a
modality against one group, and without the reconstruction of hidden modalities.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "hierarchical_perceiver")
M, T = 3, 4  # modalities, tokens a modality
GROUPS = dict(tokens=T, groups=(M, 1, M), latents=(T, 2 * M, T), self_attends=(1, 1, 1), heads=2, widening=2)
FLAT = GROUPS | dict(groups=(1, 1, 1), latents=(M * T, 2 * M, M * T))
SETTING = (
    "Planted nodes (synthetic, 500, three modalities with a copy of the class in common and one of their own, a fifth "
    "of the nodes labelled), no edges, three blocks of width 16, as many latents in all rows; the paper has raw "
    "images, audio and points (ImageNet, AudioSet) in up to 16 groups."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic",
        "data.options": dict(
            modalities=M, classes=3, redundant=0.3, unique=0.5, synergy=0.0, homophily=1 / 3, train=0.2, nodes=500
        ),
        "model.dim": 16,
        "model.fusion.name": "hierarchical_perceiver",
        "model.fusion.options": GROUPS,
        "model.layer.name": "none",
        "model.layers": 1,
        "model.rate": 0.1,
        "optimizer.learning_rate": 2e-3,
    }
    return minutes(arg, changes, epochs=80)


def sweep(add):
    add({}, label="groups")
    add({"model.fusion.options": FLAT}, label="one group")
    add({"model.fusion.options": GROUPS | {"reconstruction": 0.0}}, label="groups, no reconstruction")


def claims():
    return [
        dict(
            claim="latents in groups are as good as latents that read all tokens",
            better="groups",
            than="one group",
            equivalent=0.03,
        ),
        dict(claim="masked auto-encoding helps", better="groups", than="groups, no reconstruction"),
    ]
