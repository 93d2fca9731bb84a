"""M2FNet: the fusion of two and of three modalities, as sequences and along edges; the extractors' loss."""

import jax
import numpy as np
from flax import nnx

from fusion_jax.fusion.m2fnet import M2FNet
from fusion_jax.graphs import Graph
from fusion_jax.losses import adaptive_margin as loss
from tests.helpers import assign, parameters, run, shown
from tests.torch_names import torch_attention, torch_linear


def build(case, names, layers, relus):
    """`names[l]` are the prefixes of layer l's attentions and linear map in the case."""
    heads = int(case["option/heads"])
    dim = case["in/text"].shape[-1]
    options = dict(layers=layers, heads=heads, relus=relus)
    fusion = nnx.eval_shape(lambda: M2FNet(len(names[0]), dim, **options, rngs=nnx.Rngs(0)))
    values = {}
    for i, (*attentions, fc) in enumerate(names):
        for m, name in enumerate(attentions):
            values |= torch_attention(f"layers.{i}.attentions.{m}", case, f"param/{name}.")
        values |= torch_linear(f"layers.{i}.fc", case, f"param/{fc}")
    for path, variable in parameters(fusion).items():  # the missing vector and the head, which are ours
        if path not in values:
            values[path] = np.zeros(variable.shape)
    return assign(fusion, values)


def sequences(case, fusion, modalities):
    x = np.stack([case[f"in/{m}"] for m in modalities], axis=2)  # [B, L, M, D]
    return run(fusion, x, np.ones(x.shape[:3], bool), ~case["in/key_padding_mask"], by=M2FNet.dense)


def along_edges(case, fusion, modalities):
    """The same as a batch of graphs, one a sequence, every unpadded position a sender of all.

    Padding sees itself here, through its self-loop, and so differs; no other position sees it.
    """
    x = np.stack([case[f"in/{m}"] for m in modalities], axis=2)
    kept = ~case["in/key_padding_mask"]
    batch, length = kept.shape
    b, i, j = np.nonzero(np.broadcast_to(kept[:, None], (batch, length, length)))
    graph = Graph.create(b * length + j, b * length + i, np.full(batch, length))
    flat = x.reshape(-1, *x.shape[2:])
    return run(fusion, flat, np.ones(flat.shape[:2], bool), graph), graph.looped, kept


def fusion_attention_text_audio(case):
    modalities = ("text", "audio")
    fusion = build(case, [("multihead_attention", "linear")], 1, relus=True)
    states, outputs, weights, _ = sequences(case, fusion, modalities)
    yield "weights", weights[0][0], case["out/weights"]
    yield "mha", outputs[0][0], case["out/mha"]
    yield "y", states[0], case["out/y"]
    fused, graph, kept = along_edges(case, fusion, modalities)
    yield "y along edges", np.asarray(fused.tokens)[:, 0][kept.reshape(-1)], case["out/y"][kept]
    length = kept.shape[1]
    senders, receivers = np.asarray(graph.senders), np.asarray(graph.receivers)
    real = kept.reshape(-1)[receivers]
    b, i, j = (receivers // length)[real], (receivers % length)[real], (senders % length)[real]
    yield "weights along edges", shown(fused, "fusion")[real, 0, 0], case["out/weights"][b, :, i, j]


def three_modality_fusion_numpy(case):
    modalities = ("text", "audio", "visual")
    layers = len({name.split(".")[0] for name in case if name.startswith("param/layer")})
    names = [tuple(f"layer{i}.{part}" for part in ("audio", "visual", "fc")) for i in range(layers)]
    fusion = build(case, names, layers, relus=False)
    states, _, _, final = sequences(case, fusion, modalities)
    for i, state in enumerate(states):
        yield f"fusion{i + 1}", state, case[f"out/fusion{i + 1}"]
    yield "final", final, case["out/final"]
    fused, _, kept = along_edges(case, fusion, modalities)
    ends = np.concatenate([np.asarray(fused.tokens)[:, m] for m in range(len(modalities))], -1)
    yield "final along edges", ends[kept.reshape(-1)], case["out/final"][kept]


@jax.jit
def terms(anchor, positive, negative):
    three = anchor, positive, negative
    d_ap, d_an = loss.distance(anchor, positive), loss.distance(anchor, negative)
    found = dict(d_ap=d_ap, d_an=d_an, d_pn=loss.distance(positive, negative), margin=loss.margin(d_ap, d_an))
    found |= dict(triplet=loss.triplet_term(*three), total_20_5_1=loss.embedding_loss(*three))
    found["covariance"] = sum(loss.covariance_term(z) for z in three)
    found["variance_hinged"] = sum(loss.variance_term(z) for z in three)
    found["variance_paper_eq12_unhinged"] = sum(loss.variance_term(z, hinge=False) for z in three)
    for option, name in (("literal", "grad_triplet"), ("stop", "grad_triplet_stopgrad_margin")):
        grads = jax.grad(lambda *z, o=option: loss.triplet_term(*z, margin_grad=o), argnums=(0, 1, 2))(*three)
        found |= {f"{name}_{which}": g for which, g in zip(("anchor", "positive", "negative"), grads, strict=True)}
    return found


def embedding_loss(case):
    for name, ours in terms(*(case[f"in/{which}"] for which in ("anchor", "positive", "negative"))).items():
        yield name, ours, case[f"out/{name}"]
