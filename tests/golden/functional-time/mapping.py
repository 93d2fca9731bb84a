"""Functional time: the three codes before and after a perturbation, and causal attention as attention over events."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.encoders.functional_time import EventAttention, FunctionalTime
from fusion_jax.encoders.functional_time.time_codes import Bochner, FlexibleMercer, Mercer
from fusion_jax.graphs import Graph
from fusion_jax.nn.segment import at_senders
from tests.helpers import assign, linear


def encoder(code, width, degree=1):
    """The code of the encoder that users run."""
    return FunctionalTime(3, 4, code=code, time_dim=width, degree=degree, rngs=nnx.Rngs(0)).code


def compare(case, code, names, theirs):
    for run in ("", "perturbed."):
        assign(code, {ours: case[f"{run}{theirs}.{name}"] for ours, name in names.items()})
        yield f"{run}out", code(case["t"]), case[f"{run}out"]


def bochner_nonparametric(case):
    code = encoder("bochner", case["out"].shape[-1])
    assert isinstance(code, Bochner)
    # the reference feeds the variable it calls cos to the sines, and the other way round
    names = dict(sin_scale="time_cos_freq", cos_scale="time_sin_freq", beta="time_beta")
    yield from compare(case, code, names, "time_kernal")


def series_of(case, kind, cls, scale):
    width, twice = case["basis_time_kernal.basis_expan_var"].shape
    code = encoder(kind, width, twice // 2)
    assert isinstance(code, cls)
    names = dict(scale=scale, coefficients="basis_expan_var", bias="basis_expan_var_bias")
    yield from compare(case, code, names, "basis_time_kernal")


def mercer(case):
    yield from series_of(case, "mercer", Mercer, "time_cos_freq")


def mercer_flex(case):
    yield from series_of(case, "mercer_flexible", FlexibleMercer, "time_enc_freq_var")


def attention_causal(case):
    """A token is a node that receives an event from itself and from every earlier token of its sequence."""
    queries, keys = case["queries"], case["keys"]
    batch, length, width = queries.shape
    pairs = [(b * length + j, b * length + i) for b in range(batch) for i in range(length) for j in range(i + 1)]
    graph = Graph.create(*np.array(pairs).T, batch * length)
    # the reference takes a token whose features sum to 0 for padding: as a key it is not seen, as a query it sees none
    is_query, is_key = (jnp.asarray(x.sum(-1).reshape(-1) != 0) for x in (queries, keys))
    seen = is_key[graph.senders] & is_query[graph.receivers]
    module = EventAttention(width, int(case["heads"]), rngs=nnx.Rngs(0))
    for ours, theirs in dict(query="Q", key="K", value="V").items():
        name = f"multihead_attention.{theirs}"
        assign(module, linear(ours, case, f"{name}.kernel", f"{name}.bias", transpose=False), partial=True)

    def flat(x):
        return jnp.asarray(x.reshape(-1, width))

    out, _ = module(flat(queries), at_senders(flat(keys), graph), graph, seen)
    yield "out", out.reshape(queries.shape), case["out"]
