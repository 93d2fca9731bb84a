"""GPCR-Filter: the reference's whole predictor, step by step.

Its `encoder.encoder_layer.*` and `decoder.decoder_layer.*` are templates that never act; they are left out.
"""

import functools

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.gpcr_filter import Predictor, by_graph, pooled
from fusion_jax.graphs import Graph
from tests.golden_options import divisors, matching
from tests.helpers import assign, run
from tests.torch_names import torch_decoder_layer, torch_encoder_layer, torch_linear


def build(case, heads):
    dim, target_dim = case["param/fc_compound.weight"].shape
    layers = [
        len({name.split(".")[3] for name in case if name.startswith(f"param/{part}.{part}.")})
        for part in ("encoder", "decoder")
    ]
    make = functools.partial(
        Predictor,
        target_dim,
        case["param/fc_protein.weight"].shape[1],
        dim,
        case["param/decoder.fc_2.bias"].size,
        heads=heads,
        layers=layers,
        rate=0.0,
    )
    net = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    values = {"gcn.linear.kernel": case["param/gcn.lin.weight"].T, "gcn.linear.bias": case["param/gcn.bias"]}
    for ours, theirs in (("fc_compound",) * 2, ("fc_protein",) * 2, ("fc_1", "decoder.fc_1"), ("fc_2", "decoder.fc_2")):
        values |= torch_linear(ours, case, f"param/{theirs}")
    for i in range(layers[0]):
        values |= torch_encoder_layer(f"encoder.{i}", case, f"param/encoder.encoder.layers.{i}.")
    for i in range(layers[1]):
        values |= torch_decoder_layer(f"decoder.{i}", case, f"param/decoder.decoder.layers.{i}.")
    return assign(net, values)


def predictor(case):
    mask = ~case["in/protein_mask"]
    known = case["out/protein_encoded"][mask]  # other rows have no meaning

    def encoded(heads):
        net = build(case, heads)
        return {"net": net, "y": np.asarray(run(net, case["in/protein"], mask, by=Predictor.encode))[mask]}

    # no array has an axis of heads; eight in the README
    found = matching(encoded, [(h,) for h in divisors(known.shape[-1], 8)], known)
    graph = Graph.create(*case["in/edge_index"], np.bincount(case["in/batch"]))
    width = case["out/atoms_padded"].shape[1]

    def steps(net, atoms, protein, mask):
        u = net.targets(atoms, jnp.ones(len(atoms), bool), graph)
        padded, there = by_graph(u, graph, width)
        decoded, _ = net.decode(padded, there, net.encode(protein, mask), mask)
        return u, padded, there, decoded, net.head(pooled(decoded, there, "first_token"))

    given = case["in/atom_x"], case["in/protein"], mask
    u, padded, there, decoded, logits = (np.asarray(a) for a in run(found["net"], *given, by=steps))
    yield "gcn", u, case["out/gcn"]
    yield "atoms_padded", padded, case["out/atoms_padded"]
    yield "atoms_mask", (~there).astype(int), case["out/atoms_mask"].astype(int)  # theirs: true = padding
    yield "protein_encoded", found["y"], known
    yield "decoded", np.where(there[..., None], decoded, 0), case["out/decoded"]
    yield "logits", logits, case["out/logits"]
