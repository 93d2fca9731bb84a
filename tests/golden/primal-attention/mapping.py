"""Primal-Attention: a layer of the encoder and its loss on series as graphs; the Long Range Arena's scores and loss."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.primal_attention import PrimalCosine, PrimalLayer, energy, objective, sampled, squared
from fusion_jax.graphs import Graph
from fusion_jax.losses.cross_entropy import cross_entropy
from fusion_jax.nn.directional_attention import unit
from fusion_jax.records import EVALUATION, Output, Target
from tests.helpers import assign, run
from tests.torch_names import torch_linear, torch_norm

FLOAT32 = 1e-6  # of the terms of a difference
RTOL = {"timeseries": 1e-5, "lra": 1e-5}  # the reference computes in float32; ours is in float64


def snap(square, j, trace, reference):
    """J^2 in float64 against a float32 reference: the reference where they agree to the precision of J's terms, whose
    sum is J + trace and which nearly cancel."""
    error = FLOAT32 * (np.abs(j) + 2 * np.abs(trace))
    near = np.abs(square - reference) <= (2 * np.abs(j) + error) * error
    return np.where(near, reference, square)


def wide(case):
    return {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in case.items()}


def timeseries(case):
    """Every series is a graph of nodes with one modality."""
    case = wide(case)
    x, heads, rank = case["x"], int(case["heads"]), int(case["low_rank"])
    batch, length, dim = x.shape
    samples, hidden = case["We"].shape[1], case["layer.conv1.weight"].shape[0]
    values = {name: case[name] for name in ("We", "Wr")}
    values["inner_attention.Lambda"] = case["inner_attention.Lambda"]
    for name in ("query_projection", "key_projection", "out_projection", "inner_attention.concate_weight"):
        values |= torch_linear(name, case, name)
    for name in ("conv1", "conv2"):  # convolutions over one position
        values |= {f"{name}.kernel": case[f"layer.{name}.weight"][..., 0].T, f"{name}.bias": case[f"layer.{name}.bias"]}
    for name in ("norm1", "norm2"):
        values |= torch_norm(name, case, f"layer.{name}")
    layer = nnx.eval_shape(lambda: PrimalLayer(dim, heads, rank, samples, hidden, rate=0.0, rngs=nnx.Rngs(0)))
    graph = Graph.create([], [], np.full(batch, length))
    valid = jnp.ones((batch * length, 1), bool)

    def whole(layer, x):
        scores = layer.attention(x, sampled(valid, graph, samples), graph)
        j = layer.objective(scores, valid, graph, "weights", "graph")
        return scores, layer.after(x, scores.out), jax.vmap(squared)(*(a[:, None] for a in j)), j[0]

    scores, after, ksvd, j = run(assign(layer, values), x.reshape(-1, 1, dim), by=whole)

    def back(a):  # [B N, 1, H, ...] -> [B, H, N, ...]
        return np.moveaxis(np.asarray(a).reshape(batch, length, heads, -1), 2, 1)

    yield "we_data_dependent", scores.we, case["we_data_dependent"]
    yield "wr_data_dependent", scores.wr, case["wr_data_dependent"]
    yield "queries_normed", back(scores.queries), case["queries_normed"]
    yield "keys_normed", back(scores.keys), case["keys_normed"]
    yield "escore", back(scores.e), case["escore"]
    yield "rscore", back(scores.r), case["rscore"]
    yield "out", np.asarray(scores.out).reshape(x.shape), case["out"]
    yield "encoder_layer_out", np.asarray(after).reshape(x.shape), case["encoder_layer_out"]
    trace = (case["We"] * case["Wr"]).sum((-1, -2)).mean()
    ksvd = snap(ksvd, np.asarray(j), trace, case["ksvd_per_sample"])
    yield "ksvd_per_sample", ksvd, case["ksvd_per_sample"]
    logits, target = jnp.asarray(case["logits"]), Target("classes", labels=jnp.asarray(case["target"]).ravel())
    said = Output(logits, None, logits[:, None], None, jnp.ones((batch, 1), bool))
    ce = jnp.stack([cross_entropy(said, target, jnp.eye(batch)[i], context=EVALUATION) for i in range(batch)])
    yield "ce_per_sample", ce, case["ce_per_sample"]
    for name in (k for k in case if k.startswith("total_eta")):
        eta = float(name.removeprefix("total_eta").replace("p", "."))
        yield name, ce + eta * ksvd, case[name]


def lra(case):
    """The scores, the mask behind them, and one J of the whole batch; which of the traces it is, the numbers say."""
    case = wide(case)
    heads, rank = case["Lambda"].shape
    batch, _, length, dim = case["Q"].shape
    module = nnx.eval_shape(lambda: PrimalCosine(dim, heads, rank, rngs=nnx.Rngs(0)))
    assign(module, {"Lambda": case["Lambda"], **torch_linear("concate_weight", case, "concate_weight")})

    def tokens(a):  # [B, H, N, d] -> [B, N, H, d]
        return jnp.moveaxis(jnp.asarray(a), 1, 2)

    we, wr = (jnp.asarray(case[k])[:, None] for k in ("we_data", "wr_data"))
    out, e, r = run(module, unit(tokens(case["Q"])), unit(tokens(case["K"])), we, wr)
    seen = case["mask"][:, None, :, None]
    yield "out", np.moveaxis(np.asarray(out), 2, 1) * seen, case["out"]
    yield "escore", np.moveaxis(np.asarray(e), 2, 1), case["escore"]
    yield "rscore", np.moveaxis(np.asarray(r), 2, 1), case["rscore"]
    graph, every = Graph.create([], [], np.full(batch, length)), jnp.ones((batch * length, 1), bool)
    inverse = jnp.asarray(case["Lambda"])
    left, right = (energy(s, inverse).reshape(-1, 1) for s in (e, r))

    def mean(energy):  # the reference's means are over masked tokens too
        return objective(energy, jnp.zeros(batch), every, graph, "batch")[0][0]

    yield "J_e", mean(left), case["J_e"]
    yield "J_r", mean(right), case["J_r"]
    traces = [(case[f"we_{k}"] * case[f"wr_{k}"]).sum((-1, -2)).mean(-1) for k in ("param", "data")]
    trace = min(traces, key=lambda t: abs(np.mean(t) - case["trace"]))
    yield "trace", np.mean(trace), case["trace"]
    j, there = objective(left + right, jnp.asarray(trace), every, graph, "batch")
    yield "ksvd", snap(np.asarray(squared(j, there)), np.asarray(j[0]), np.mean(trace), case["ksvd"]), case["ksvd"]
