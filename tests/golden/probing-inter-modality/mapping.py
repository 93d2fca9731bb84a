"""The project's own definition: attention that crosses modalities, layer by layer and carried on; a masked group."""

import jax.numpy as jnp
import numpy as np

from fusion_jax.analysis.probing_inter_modality import directed, rollout, share
from fusion_jax.graphs import Graph
from fusion_jax.losses.probing_inter_modality import regression
from fusion_jax.nn.masked_groups import groups


def flow(case):
    a, group = case["attention"], case["group"]
    yield "imf_share_layer_head", share(a, group), case["imf_share_layer_head"]
    layers = a.mean(1)
    yield "imf_direction_layer", directed(layers, group), case["imf_direction_layer"]
    carried = rollout(layers)
    yield "rollout", carried, case["rollout"]
    yield "imf_rollout_direction", directed(carried, group), case["imf_rollout_direction"]
    yield "mfr_mask", masked(case), case["mfr_mask"]
    weight = jnp.asarray(case["mfr_mask"], jnp.float64)
    yield (
        "mfr_loss",
        regression(jnp.asarray(case["mfr_pred"]), jnp.asarray(case["mfr_target"]), weight),
        case["mfr_loss"],
    )


def masked(case):
    """k tokens, the seed and those it attends to most: every token is a node that hears from all others."""
    weights = case["visual_attention"]
    senders, receivers = np.nonzero(~np.eye(len(weights), dtype=bool))
    graph = Graph.create(senders, receivers, len(weights))
    guide = jnp.asarray(weights)[graph.receivers, graph.senders]
    seeds = jnp.arange(len(weights)) == int(case["mfr_seed"])
    return groups(seeds, guide, graph, jnp.full(len(weights), int(case["mfr_k"]) - 1, jnp.int32))
