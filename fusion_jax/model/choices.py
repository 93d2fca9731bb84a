"""What a model can be made of, and which of it goes together."""

from __future__ import annotations

from collections.abc import Mapping

import jax

from fusion_jax import zoo

PLACEMENTS = ("before", "after", "interleaved", "decision")
MISSING = ("mask", "zeros", "mean", "learned", "indicator", "propagate")
PRESENCE = ("received", "own")
HEADS = ("linear", "none", "fusion")
ACTIVATIONS = {"relu": jax.nn.relu, "elu": jax.nn.elu}


def encoded_width(encoder: str, feature_dims: Mapping[str, int], dim: int) -> int:
    """The one width of all encoded modalities.

    Raises:
        ValueError: they have several; names them.
    """
    kind = zoo.get("encoder", encoder)
    widths = {name: kind.width(d, dim) for name, d in feature_dims.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(
            f"encoder {encoder!r} leaves the modalities at the widths {widths}, a fusion needs one: name an encoder, "
            "such as 'linear', or one modality"
        )
    return next(iter(widths.values()))


def check_no_head(placement: str, layers: int, readout: str):
    """Raises ValueError where head "none" does not exist: where no graph layer gives one prediction a node."""
    where = "model.head='none': the last graph layer predicts, so that"
    if placement not in ("before", "decision"):
        raise ValueError(f"{where} fusion stands before the layers or fuses predictions, not {placement!r}")
    if layers < 1:
        raise ValueError(f"{where} there must be one, found model.layers={layers}")
    if readout != "last":
        raise ValueError(f"{where} nothing reads states, found the readout {readout!r}; it exists for node tasks only")


def check_fusion_predicts(fusion: str, placement: str, readout: str):
    """Raises ValueError where head "fusion" does not exist: where no fusion stands last and knows the outputs."""
    where = "model.head='fusion': the last fusion predicts, so that"
    if not {"outputs", "targets"} & set(zoo.get("fusion", fusion).info.needs):
        raise ValueError(f"{where} it has to need 'outputs' or 'targets', which fusion {fusion!r} does not")
    if placement not in ("after", "interleaved"):
        raise ValueError(f"{where} it stands behind the layers ('after', 'interleaved'), not {placement!r}")
    if readout != "last":
        raise ValueError(f"{where} nothing reads states, found the readout {readout!r}; it exists for node tasks only")


def check_placement(fusion: str, placement: str):
    """The fusion's class, if it can stand there.

    Raises:
        ValueError: unknown placement, or one the mechanism cannot have; says which it can.
    """
    if placement not in PLACEMENTS:
        raise ValueError(f"placement {placement!r}{zoo.nearest(placement, PLACEMENTS)}; expected one of {PLACEMENTS}")
    mechanism = zoo.get("fusion", fusion)
    if placement not in mechanism.placements:
        why = " (it returns no tokens)" if placement == "interleaved" else ""
        raise ValueError(
            f"fusion {fusion!r} cannot stand {placement!r}{why}; its placements: {', '.join(mechanism.placements)}"
        )
    return mechanism
