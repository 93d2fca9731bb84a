"""SpatialGlue: embeddings, attention weights, reconstructions, consistency and the four losses, M = 2."""

import numpy as np
from flax import nnx

from fusion_jax.fusion.spatialglue import SpatialGlue
from fusion_jax.graphs import Graph
from tests.helpers import assign, shown


def graph_of(adjacency, views=()):
    receivers, senders = np.nonzero(adjacency)
    return Graph.create(senders, receivers, len(adjacency), views=views)


def encoder_overall(case):
    x = case["in/x"]
    omics = ("omics1", "omics2")
    graph = graph_of(case["in/adj_spatial"], tuple(graph_of(case[f"in/adj_feature_{o}"]) for o in omics))
    module = SpatialGlue(x.shape[1], x.shape[2], rngs=nnx.Rngs(0))
    values = {}
    for m, o in enumerate(omics):
        values[f"encoders.{m}.kernel"] = case[f"param/encoder_{o}.weight"]
        values[f"decoders.{m}.kernel"] = case[f"param/decoder_{o}.weight"]
    for ours, theirs in (("atten_omics.0", "omics1"), ("atten_omics.1", "omics2"), ("atten_cross", "cross")):
        for name in ("w_omega", "u_omega"):
            values[f"{ours}.{name}.kernel"] = case[f"param/atten_{theirs}.{name}"]
    assign(module, values)
    fused = module(x, np.ones(x.shape[:2], bool), graph)
    yield "alpha", shown(fused, "modalities"), case["out/alpha"]
    yield "emb_latent_combined", fused.out, case["out/emb_latent_combined"]
    decoded = module.reconstruct(fused.out, graph)
    for m, o in enumerate(omics):
        yield f"alpha_{o}", shown(fused, "graphs")[:, m], case[f"out/alpha_{o}"]
        yield f"emb_latent_{o}", fused.tokens[:, m], case[f"out/emb_latent_{o}"]
        yield f"emb_recon_{o}", decoded[:, m], case[f"out/emb_recon_{o}"]
        across = module.through(fused.tokens[:, m], 1 - m, graph)
        yield f"emb_latent_{o}_across_recon", across, case[f"out/emb_latent_{o}_across_recon"]
    for ours, theirs in (("reconstruction", "recon"), ("correspondence", "corr")):
        yield ours, fused.losses[ours], sum(case[f"out/loss_{theirs}_{o}"] for o in omics)
