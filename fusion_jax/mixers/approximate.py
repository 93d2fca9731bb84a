"""The form of attention without the softmax: the second-order Taylor series of exp.

Reference: Xue, Moosavi and Aletras, "Deconstructing Attention", 2025 (arXiv 2510.11602), section 3.2 and appendix I,
which follows Arora et al., "Simple linear attention language models balance the recall-throughput tradeoff", 2024
(code HazyResearch/based at 32c1bd4). Golden `deconstructing-attention/taylor`: the joint form ran that code, the
printed ones are computed independently from the equations.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fusion_jax import zoo
from fusion_jax.mixers.base import PAPER, Mixer
from fusion_jax.records import Info

FORMS = ("joint", "printed", "printed_tensor")


class Approximate(Mixer):
    """a_l = u_l / sum_l' u_l', u = 1 + s + s^2 / 2, s = q . k / sqrt d (plus the bias of the logits).

    u = ((1 + s)^2 + 1) / 2 > 0: the sum never vanishes. The bias is approximated with the rest (ours; the paper has
    none), and a key whose bias is -inf is not seen.

    Args:
        form: "joint", the above, as the cited code has it (there with 1e-12 added to the sum). "printed" is equations
            14-17 of appendix I: the sum of three terms, each divided by its own sum,

                1 / L,    q . k / sum,    q^2 . k^2 / sum    (squares element by element, no 1 / sqrt d),

            so that a row sums to 3; "printed_tensor" reads the square as the outer product, (q . k)^2. Sums of the
            first order may be near 0: both are there to reproduce, and are numerically unsafe. They have no bias.
    Raises:
        ValueError: unknown form.
    """

    info = Info(PAPER, 2025, pinned="authors' code", golden="deconstructing-attention", cost="O(T L d)")

    def __init__(self, modalities: int, dim: int, *, form: str = "joint", rngs: nnx.Rngs):
        super().__init__(modalities, dim, rngs=rngs)
        if form not in FORMS:
            raise ValueError(f"mixer 'approximate': form={form!r}{zoo.nearest(form, FORMS)}; expected one of {FORMS}")
        self.form = form

    def weights(self, keys, q, k, scale, bias):
        s = keys.pair(q, k)
        if self.form == "joint":
            s = s * scale
            s = s if bias is None else s + bias
            seen = s > -jnp.inf  # a bias of -inf is a mask
            s = jnp.where(seen, s, 0)
            return keys.share(jnp.where(seen, 1 + s + s**2 / 2, 0))
        second = s**2 if self.form == "printed_tensor" else keys.pair(q**2, k**2)
        return keys.share(jnp.ones_like(s)) + keys.share(s) + keys.share(second)
