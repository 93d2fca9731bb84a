"""NPT: one block with other keys, and the model of a table from the encoded columns to their predictions."""

import re

import jax
import numpy as np
from flax import nnx

from fusion_jax.fusion.npt import MAB, Table
from fusion_jax.graphs import Graph
from fusion_jax.nn.within_graph import attend_within
from tests.helpers import assign, run
from tests.torch_names import torch_linear, torch_norm

LINEAR = ("fc_q", "fc_k", "fc_v", "fc_mix_heads", "fc_res")


def block(prefix, case, torch_prefix):
    """The parameters of a block of theirs, by our paths."""
    out = {}
    for name in LINEAR:
        out |= torch_linear(f"{prefix}{name}", case, f"{torch_prefix}{name}")
    for name in ("ln0", "ln1"):
        out |= torch_norm(f"{prefix}{name}", case, f"{torch_prefix}{name}")
    for ours, theirs in (("rff.fc1", "rff.0"), ("rff.fc2", "rff.2")):
        out |= torch_linear(f"{prefix}{ours}", case, f"{torch_prefix}{theirs}")
    return out


def mab_cross(case):
    """A layer norm before the block has the width of X, one behind it that of the block; where they agree, both fit one
    of the two numbers."""
    x, y, heads = case["X"], case["Y"], int(case["heads"])
    out = case["out"].shape[-1]
    for norm_first in norms(case["ln0.weight"].size, x.shape[-1], out):
        module = nnx.eval_shape(
            lambda norm_first=norm_first: MAB(
                x.shape[-1], y.shape[-1], out, heads=heads, norm_first=norm_first, rngs=nnx.Rngs(0)
            )
        )
        found, _ = run(assign(module, block("", case, "")), x, y)
        if near(found, case["out"]):
            break
    yield "out", found, case["out"]


def model(case):
    rows, columns, dim = case["embedded"].shape
    x = [case[f"X_{j}"] for j in range(columns)]
    places = sorted(int(p) for p in {re.match(r"enc\.(\d+)\.", k)[1] for k in case if k.startswith("enc.")})
    types = case["feature_types"] if "feature_type_embedding.weight" in case else np.zeros(columns, int)
    values = {"feature_index_embedding": case["feature_index_embedding.weight"]}
    if "feature_type_embedding.weight" in case:
        values["feature_type_embedding"] = case["feature_type_embedding.weight"]
    for j in range(columns):
        for name in ("in_embedding", "out_embedding"):
            values |= torch_linear(f"{name}.{j}", case, f"{name}.{j}")
    for turn, which in enumerate(("rows", "columns")):  # rows first; ours are stacked over the pairs of blocks
        each = [block(f"enc.{which}.", case, f"enc.{place}.mab.") for place in places[turn::2]]
        values |= jax.tree.map(lambda *leaves: np.stack(leaves), *each)
    graph = Graph.create([], [], rows)

    def look(q, k, v, **drop):
        return attend_within(q, k, v, graph, **drop), None

    def whole(table, x):
        embedded = table.embed(x)
        encoded, _ = table.encode(embedded, look)
        return embedded, encoded, table.decode(encoded)

    for norm_first in (True, False):  # the widths do not tell
        module = nnx.eval_shape(
            lambda norm_first=norm_first: Table(
                [c.shape[1] for c in x],
                types,
                dim,
                depth=len(places),
                heads=int(case["heads"]),
                norm_first=norm_first,
                rngs=nnx.Rngs(0),
            )
        )
        embedded, encoded, out = run(assign(module, values), x, by=whole)
        if near(encoded, case["encoded"]):
            break
    yield "embedded", embedded, case["embedded"]
    yield "encoded", encoded, case["encoded"]
    for j, found in enumerate(out):
        yield f"out_{j}", found, case[f"out_{j}"]


def norms(width, before, behind):
    """The orders that a layer norm of this width can stand in."""
    return tuple(first for first, fits in ((True, before), (False, behind)) if fits == width)


def near(ours, reference):
    return np.allclose(ours, reference, rtol=1e-6, atol=1e-6)
