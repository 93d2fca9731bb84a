"""The contract of a token mixer, which weighs the keys of an attention in the place of the softmax of products.

A mixer is an axis over every mechanism that attends by `nn.attention` or `nn.segment.edge_attend`: `model.mixer` names
it, and which of the attentions become simple, counted from 1 in the order of their calls (`simple`). An attention that
a mechanism writes out by itself is not reached; a mechanism without any that is reached is refused.

The mixers are those of Xue, Moosavi and Aletras, "Deconstructing Attention: Investigating Design Principles for
Effective Language Modeling", 2025 (arXiv 2510.11602), without the causal mask, over the modalities of a node or along
its edges (ours); golden `deconstructing-attention`.
"""

from __future__ import annotations

from typing import ClassVar

from flax import nnx

from fusion_jax import zoo
from fusion_jax.nn.mixing import Keys, softmax_of_products
from fusion_jax.records import Array, Info

PAPER = "Xue et al., Deconstructing Attention: Investigating Design Principles for Effective Language Modeling"
LAYERS = (
    "uniform",
    "hybrid",
    "odd",
    "even",
    "top",
    "middle",
    "bottom",
    "but_every_fourth",
    "but_first",
    "but_last",
    "but_ends",
)


class Mixer(nnx.Module):
    """Weighs keys; made for one mechanism, `modalities` (1 of a graph layer) and the width `dim` of what it is given.

    A subclass defines `info`, and `weights` unless it only says what is projected; every option is a keyword with a
    default. Rows of weights sum to 1 over the keys that can be seen and are exactly 0 at the others, unless it says.

    Attributes:
        info: the entry in the catalogue.
        static: queries and keys are projected from what the first attention of the mechanism projects them from.
        own_query: a key is weighed by its own query, so that queries have to be the keys.
        replaces: no weights: a `MultiHeadAttention` is built as a gated MLP of as many parameters.
        streams: queries and keys are those of `sequence`, which goes through the mechanism beside the data.
    """

    info: ClassVar[Info]
    static: ClassVar[bool] = False
    own_query: ClassVar[bool] = False
    replaces: ClassVar[bool] = False
    streams: ClassVar[bool] = False

    def __init__(self, modalities: int, dim: int, *, rngs: nnx.Rngs):
        del modalities, dim, rngs

    @property
    def name(self) -> str:
        return zoo.name_of(self)

    def weights(self, keys: Keys, q: Array, k: Array, scale: float, bias: Array | None) -> Array | None:
        """q [..., T, H, d] or [N, H, d], k as q, bias added to logits -> weights; None where queries have to be keys
        and are not. What can be seen is what `keys` says."""
        return softmax_of_products(keys, q, k, scale, bias)

    def sequence(self) -> Array | None:
        """[M, D], the tokens of which queries and keys are made, of a mixer that has `streams`."""
        return None

    def begin(self, x: Array, mask: Array, train: Array | None) -> None:
        """Called once a seed before training with what the mechanism is given, x [N, M, D], mask bool [N, M], and which
        nodes are trained on, bool [N] or None where rows are no nodes. May set variables that are no parameters."""


def simple(layers: str, total: int) -> frozenset[int]:
    """The numbers of the simple ones of `total` attentions, 1 ... total.

    "uniform" all; "hybrid" and "odd" 1, 3, 5, ...; "even" 2, 4, ...; "top" the upper half, "bottom" the lower one,
    "middle" as many between them; "but_every_fourth" all but 4, 8, ...; "but_first", "but_last", "but_ends" all but
    these. Of the paper's 24 layers top is 13-24, middle 7-18 and bottom 1-12.

    Raises:
        ValueError: unknown name.
    """
    if layers not in LAYERS:
        raise ValueError(f"mixer: layers={layers!r}{zoo.nearest(layers, LAYERS)}; expected one of {LAYERS}")
    half, low = total // 2, total // 4
    rules = dict(
        uniform=lambda i: True,
        hybrid=lambda i: i % 2 == 1,
        odd=lambda i: i % 2 == 1,
        even=lambda i: i % 2 == 0,
        top=lambda i: i > total - half,
        middle=lambda i: low < i <= low + half,
        bottom=lambda i: i <= half,
        but_every_fourth=lambda i: i % 4 != 0,
        but_first=lambda i: i != 1,
        but_last=lambda i: i != total,
        but_ends=lambda i: i not in (1, total),
    )
    return frozenset(filter(rules[layers], range(1, total + 1)))
