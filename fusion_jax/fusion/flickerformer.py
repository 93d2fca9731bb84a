"""Modalities are filtered, frequency by frequency of their features, by how well their phases agree with a reference's.

Reference: "It Takes Two: A Duet of Periodicity and Directionality for Burst Flicker Removal", CVPR 2026 (Flickerformer,
its phase fusion module); code qulishen/Flickerformer at 56f2bef; golden `flickerformer`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.init import stack
from fusion_jax.nn.stencil import Stencil, StencilLinear, itself
from fusion_jax.records import Array, Attention, Fused, Info

CORRELATIONS = ("cos", "abs")
EPS = 1e-8


def correlation(f: Array, reference: Array, how: str) -> Array:
    """Of the phases of two spectra: the real part ("cos") or the absolute value ("abs") of P conj(P_ref).

    P = F / (|F| + 1e-8). The absolute value, which the released code takes, is 1 wherever neither spectrum is 0.
    """

    def phase(f: Array) -> Array:
        square = jnp.real(f) ** 2 + jnp.imag(f) ** 2
        there = square > 0  # the root has no derivative at 0
        size = jnp.where(there, jnp.sqrt(jnp.where(there, square, 1)), 0)
        return f / (size + EPS).astype(f.dtype)

    product = phase(f) * jnp.conj(phase(reference))
    if how == "cos":
        return jnp.real(product)
    square = jnp.real(product) ** 2 + jnp.imag(product) ** 2
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


class PhaseGate(nnx.Module):
    """g = sigmoid(W_3 relu(W_2 relu(W_1 c))), without biases.

    Args:
        dim: of c and g.
        hidden: between.
        views: of the stencils of W_1 and W_2 (3 x 3 convolutions over the spectrum of an image: 9; here 1).
    """

    def __init__(self, dim: int, hidden: int, *, views: int = 1, rngs: nnx.Rngs):
        self.first = StencilLinear(dim, hidden, views=views, rngs=rngs)
        self.second = StencilLinear(hidden, hidden, views=views, rngs=rngs)
        self.third = nnx.Linear(hidden, dim, use_bias=False, rngs=rngs)

    def __call__(self, c: Array, stencil: Stencil = itself) -> Array:
        hidden = jax.nn.relu(self.first(c, stencil))
        return jax.nn.sigmoid(self.third(jax.nn.relu(self.second(hidden, stencil))))


class Flickerformer(Fusion):
    """out = W [y_1; ...; y_M] + b, y_m = irfft(g_m F_m), g_m = `PhaseGate`_m(correlation(F_m, F_ref)), F = rfft(x).

    The transform is along the D features, whose order the encoders thereby learn. The reference is the first modality
    a node has, and stays as it is; each modality but the first has a gate network of its own. A missing modality is a
    block of zeros.

    `tokens` are the y_m. Attention "gates" [N, D // 2 + 1, M] holds the g_m, 1 for the reference.

    Args:
        correlation: "cos", the phase similarity that the text describes; "abs", the released code's, in which no phase
            is left.
        expansion: of the hidden width int(expansion (D // 2 + 1)), > 0.
    Raises:
        ValueError: another correlation, expansion not above 0.
    """

    info = Info(
        "It Takes Two: A Duet of Periodicity and Directionality for Burst Flicker Removal (Flickerformer)",
        2026,
        pinned="authors' code",
        golden="flickerformer",
        cost="O(N M D^2)",
    )
    placements = ("before", "after", "interleaved", "decision")

    def __init__(self, modalities: int, dim: int, *, correlation: str = "cos", expansion: float = 2.66, rngs: nnx.Rngs):
        if correlation not in CORRELATIONS:
            raise ValueError(f"fusion 'flickerformer': correlation={correlation!r}; expected one of {CORRELATIONS}")
        if not expansion > 0:
            raise ValueError(f"fusion 'flickerformer': expansion={expansion}; expected a number above 0")
        bins = dim // 2 + 1
        hidden = max(1, int(expansion * bins))
        others = modalities - 1
        self.gate = stack(lambda r: PhaseGate(bins, hidden, rngs=r), others, rngs) if others else None
        self.fusion = nnx.Linear(modalities * dim, dim, rngs=rngs)
        self.correlation = correlation

    def gates(self, spectra: Array, mask: Array) -> tuple[Array, Array]:
        """Correlations and gates of all modalities but the first, [M - 1, bins] each; spectra [M, bins]."""
        reference = spectra[jnp.argmax(mask)]
        c = correlation(spectra[1:], reference, self.correlation)
        return c, jax.vmap(lambda gate, c: gate(c))(self.gate, c)

    def node(self, x, mask, context):
        del context
        spectra = jnp.fft.rfft(x)  # [M, bins]
        gates = jnp.ones(spectra.shape, x.dtype)
        if self.gate is not None:
            gates = gates.at[1:].set(self.gates(spectra, mask)[1])
        is_reference = jnp.arange(len(mask)) == jnp.argmax(mask)
        gates = jnp.where(is_reference[:, None], 1, gates)
        filtered = jnp.fft.irfft(gates.astype(spectra.dtype) * spectra, x.shape[-1])
        tokens = jnp.where((mask & ~is_reference)[:, None], filtered, x)
        shown = jnp.where(mask[:, None], gates, 0).T
        axes = ("frequency", "modality")
        return Fused(
            self.fusion(tokens.reshape(-1)),
            tokens,
            (Attention("gates", shown, axes, "node", "modality", valid=mask[None], normalised=False),),
        )
