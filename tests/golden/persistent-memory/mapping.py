"""Persistent memory: the module, the layer with and without adaptive span, the modalities of a node."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.persistent_memory import AllAttentionLayer, PersistentMemory, PersistentVectors
from fusion_jax.records import EVALUATION
from tests.helpers import assign, linear, prefixed, shown
from tests.torch_names import torch_norm

RAMP_SIZE = 2  # of the soft mask, in tokens; the README names it, no array holds it


def persistent_memory_module(case):
    key, val = case["param/key"], case["param/val"]
    heads, width, count = key.shape
    memory = assign(PersistentVectors(heads, width, count, rngs=nnx.Rngs(0)), {"key": key, "val": val})
    by_head = lambda a: a.reshape(-1, heads, *a.shape[1:])  # noqa: E731  [B K, ...] with the head fast
    q = by_head(case["in/query"]).swapaxes(1, 2)
    _, context, out = memory(q, by_head(case["in/attn_logits_unscaled"]))
    yield "attn_context", context.reshape(case["out/attn_context"].shape), case["out/attn_context"]
    out = out.swapaxes(1, 2).reshape(case["out/out_persistent"].shape)
    yield "out_persistent", out, case["out/out_persistent"]


def _layer(case):
    stored = "param/attn.attn.persistent_memory"
    heads, _, count = case[f"{stored}.key"].shape
    layer = AllAttentionLayer(case["in/h"].shape[-1], heads, count, rngs=nnx.Rngs(0))
    values = {"persistent.key": case[f"{stored}.key"], "persistent.val": case[f"{stored}.val"]}
    for name in ("proj_query", "proj_key", "proj_val", "proj_out"):
        values |= linear(name, case, f"param/attn.{name}.weight")
    return assign(layer, values | torch_norm("norm1", case, "param/norm1"))


def _window(offsets, values):
    """[T, T + S, ...] from values [S, ...] by distance: entry (i, i + s) is values[s], the rest 0."""
    out = np.zeros((*offsets.shape, *values.shape[1:]))
    inside = (offsets >= 0) & (offsets < len(values))
    out[inside] = values[offsets[inside]]
    return out, inside


def all_attention_layer(case, ramp=None):
    layer, h = _layer(case), case["in/h"]
    context = np.concatenate([case["in/h_cache"], h], axis=1)
    offsets = np.arange(context.shape[1])[None] - np.arange(h.shape[1])[:, None]
    position, seen = _window(offsets, case["in/key_pe"][0].T)
    if ramp is not None:
        ramp = np.stack([_window(offsets, r)[0] for r in ramp])  # [H, T, L]
    out, _ = layer.attend(jnp.asarray(h), jnp.asarray(context), seen, position, ramp)
    yield "attn_out", out, case["out/attn_out"]
    yield "y", layer(jnp.asarray(h), jnp.asarray(context), seen, position, ramp)[0], case["out/y"]


def all_attention_layer_adaptive_span(case):
    prefix = "param/attn.attn.adaptive_span._mask"
    template, current = case[f"{prefix}.mask_template"], case[f"{prefix}.current_val"][:, 0]
    ramp = np.clip((template + current * template.size) / RAMP_SIZE + 1, 0, 1)  # [H, S]
    yield from all_attention_layer(case, ramp)


def modality_tokens_numpy(case):
    x, mask = case["in/x"], case["in/mask"]
    heads, _, count = case["param/key"].shape
    fusion = PersistentMemory(x.shape[1], x.shape[2], layers=1, heads=heads, persistent=count, rngs=nnx.Rngs(0))
    values = {"persistent.key": case["param/key"], "persistent.val": case["param/val"]}
    for ours, name in dict(proj_query="q", proj_key="k", proj_val="v", proj_out="o").items():
        values |= linear(ours, case, f"param/proj_{name}.weight")
    values |= torch_norm("norm1", case, "param/norm1")
    assign(fusion, prefixed("layers.0", values) | {"embedding": np.zeros(x.shape[1:])})
    # not `fusion(...)`, which zeroes masked tokens: the reference has the outputs of masked queries too
    fused = fusion.nodes(jnp.asarray(x), jnp.asarray(mask), None, EVALUATION)
    yield "y", fused.tokens, case["out/y"]
    yield "weights", shown(fused, "memory")[:, 0], case["out/weights"]
    present = mask[..., None]
    mean = np.where(present, case["out/y"], 0).sum(1) / np.maximum(present.sum(1), 1)
    yield "out", fusion(jnp.asarray(x), jnp.asarray(mask)).out, mean
