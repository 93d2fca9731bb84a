"""Multiplicative interactions: the modalities meet in a bilinear form, folded in one after another.

Reference: Jayakumar et al., "Multiplicative Interactions and Where to Find Them", ICLR 2020. No code of the
authors is public; the numbers come from a re-implementation, pliang279/MultiBench at
49f9be224f342de005b7f001281f33df4301eb22 (`fusions/common_fusions.py`, MultiplicativeInteractions2Modal, MIT).
Golden `multiplicative-interaction/{matrix, vector, scalar}` and, several of these in a row, `fold`.
"""

import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.nn.init import normal, zeros
from fusion_jax.records import Array, Fused, Info


class Interaction(nnx.Module):
    """y = z^T W x + U z + V x + b for two vectors, with W full, diagonal or one number for all widths.

    Parameters: matrix W [D, D, D], U and V [D, D], b [D]; vector W and U [D, D], V and b [D]; scalar W and
    U [D], V and b [1]. Always: x is mapped by weights z^T W + V and shifted by U z + b (a hypernetwork of z).
    """

    def __init__(self, dim: int, form: str, *, rngs: nnx.Rngs):
        rank = {"matrix": 3, "vector": 2, "scalar": 1}[form]
        self.form = form
        # z^T W x sums D products a full axis, so its terms stay of one size with the linear ones
        self.W = normal(rngs, (dim,) * rank, std=dim ** (-1.0 if form == "matrix" else -0.5))
        self.U = normal(rngs, (dim,) * min(rank, 2), std=dim**-0.5)
        if form == "matrix":
            self.V = normal(rngs, (dim, dim), std=dim**-0.5)
        else:
            self.V = normal(rngs, (dim if form == "vector" else 1,), std=1.0)
        self.b = zeros((1,) if form == "scalar" else (dim,))

    def __call__(self, z: Array, x: Array) -> Array:
        """z [D], x [D] -> [D]."""
        weights = jnp.tensordot(z, self.W[...], 1) + self.V[...]
        shift = z @ self.U[...] + self.b[...]
        return (x @ weights if self.form == "matrix" else weights * x) + shift


class MultiplicativeInteraction(Fusion):
    """h_1 = x_1, h_m = h_{m-1}^T W_m x_m + U_m h_{m-1} + V_m x_m + b_m, out = h_M.

    For M = 2 that is the paper's equation with z = x_1 and x = x_2; for M > 2 the result of two modalities
    meets the third, and so on, each step with parameters of its own (the order of the modalities matters). A
    missing modality enters as the zero vector, so that the terms with it vanish. M = 1 returns x_1.

    Args:
        form: "matrix" (W of D^3 entries), "vector" (W diagonal in x: gating, FiLM-like) or "scalar" (one
            weight and one shift for all widths).
    Raises:
        ValueError: an unknown form.
    """

    info = Info(
        "Jayakumar et al., Multiplicative Interactions and Where to Find Them",
        2020,
        pinned="stand-in",
        golden="multiplicative-interaction",
        cost="O(N M D^3)",
    )

    def __init__(self, modalities: int, dim: int, *, form: str = "matrix", rngs: nnx.Rngs):
        if form not in ("matrix", "vector", "scalar"):
            raise ValueError(
                f"fusion 'multiplicative_interaction': form={form!r}, expected 'matrix', 'vector' or 'scalar'"
            )
        self.steps = nnx.List([Interaction(dim, form, rngs=rngs) for _ in range(modalities - 1)])

    def node(self, x, mask, context):
        del context
        x = jnp.where(mask[:, None], x, 0)
        h = x[0]
        for m, step in enumerate(self.steps, start=1):
            h = step(h, x[m])
        return Fused(h)
