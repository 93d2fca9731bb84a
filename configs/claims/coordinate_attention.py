"""Coordinate attention (Hou et al., 2021): channel attention that keeps where it is, as a gate along each axis.

The paper says that pooling over all positions, as squeeze-and-excitation and CBAM's channel gates do, loses where
something is, and that two gates, each pooled along one axis alone, are better than that and than no gates. Asked where
one modality of a node can be relied on and a mark of the node tells which.
"""

from fusion_jax.study.claim_files import minutes

OF = ("fusion", "coordinate_attention")
SETTING = (
    "Planted nodes (synthetic_bands, reliability, 1,000, four modalities, of which three are decoys), no edges, two "
    "layers behind the gates, 12,000 parameters, beside gates a channel and modality pooled over all nodes and the "
    "plain mean; the paper has ImageNet with MobileNets, axes of up to 112 positions, and squeeze-and-excitation."
)


def get_config(arg: str = ""):
    changes = {
        "data.name": "synthetic_bands",
        "data.options": {"nodes": 1000, "modalities": 4, "classes": 4, "band": 0.0, "reliability": 1.0},
        "model.fusion.name": "coordinate_attention",
        "model.layer.name": "none",
        "model.rate": 0.2,
        "size.parameters": 12_000,
    }
    return minutes(arg, changes, epochs=120)


def sweep(add):
    add({}, label="coordinate attention")
    add({"model.fusion.name": "fe_lsd_ca_fusion"}, label="channel attention")
    add({"model.fusion.name": "mean"}, label="no gates")


def claims():
    better = "coordinate attention"
    return [
        dict(
            claim="gates of nodes and modalities beat gates of channels alone", better=better, than="channel attention"
        ),
        dict(claim="gates of nodes and modalities beat none", better=better, than="no gates"),
    ]
