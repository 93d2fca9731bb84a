"""Wayformer: scene encoders (first stand-in) and factorised attention with all its states (second)."""

import re

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion.wayformer.scene_encoder import ATTENTIONS, GridEncoder, SceneEncoder, layer_axes
from tests.helpers import assign, prefixed
from tests.torch_names import torch_attention, torch_linear, torch_norm

# our order of modalities is the reference's order of tokens, which differs with the place of fusion
EARLY = ("agent_histories", "agent_interactions", "road_graphs", "traffic_lights")
LATE = ("agent_histories", "road_graphs", "agent_interactions", "traffic_lights")
ENCODERS = {
    "agent_histories": "agent_hist_encoder",
    "road_graphs": "road_encoder",
    "agent_interactions": "agent_int_encoder",
    "traffic_lights": "traffic_light_encoder",
}


def _layer(case, prefix):
    """One layer; its feed-forward is two linear maps or two convolutions of kernel size 1."""
    case = {k: v[..., 0] if re.search(r"conv\d\.weight$", k) else v for k, v in case.items()}
    first = "conv" if f"{prefix}conv1.weight" in case else "linear"
    values = torch_attention("multihead_attn", case, f"{prefix}self_attn.")
    for i in (1, 2):
        values |= torch_linear(f"linear{i}", case, f"{prefix}{first}{i}")
        values |= torch_norm(f"norm{i + 1}", case, f"{prefix}norm{i}")
    return values


def _depth(case, prefix):
    """Number of layers whose names start with the prefix."""
    return len({m[1] for k in case if (m := re.match(re.escape(prefix) + r"(\d+)\.", k))})


def factorized(case):
    x, mask = case["in/x"], ~case["in/mask"]
    names = sorted(k for k in case if k.startswith("out/after_block"))
    depth = len(names)
    order = tuple(n.split("_")[-1] for n in names)
    attention = next(a for a in ATTENTIONS if layer_axes(a, depth) == order)
    hidden = case["param/0.tfm_layer.linear1.bias"].size
    encoder = GridEncoder(x.shape[-1], int(case["option/heads"]), hidden, depth, attention=attention, rngs=nnx.Rngs(0))
    for i in range(depth):
        assign(encoder.layers[i], _layer(case, f"param/{i}.tfm_layer."))
    states = encoder.states(jnp.asarray(x), jnp.asarray(mask))
    for (z, _), name in zip(states, names, strict=True):
        yield name, z, case[name]


def _encoder(case, prefix):
    """All values of a GridEncoder."""
    values = {}
    for i in range(_depth(case, f"{prefix}layers.")):
        values |= prefixed(f"layers.{i}", _layer(case, f"{prefix}layers.{i}."))
    if f"{prefix}layers.0.latent_queries" in case:
        values["latents"] = case[f"{prefix}layers.0.latent_queries"][None]
    return values


def _scene(case, modal, cross):
    """The encoder with the case's values; `modal` and `cross` are the names of the reference's encoders."""
    depths = tuple(_depth(case, f"{(names or ('none',))[0]}layers.") for names in (modal, cross))
    first = next(k for k in case if k.endswith("layers.0.conv1.bias"))
    latents = [case[k].shape[0] for k in case if k.endswith("latent_queries")]
    scene = SceneEncoder(
        len(ENCODERS),
        case["in/road_graphs"].shape[-1],
        int(case["option/heads"]),
        case[first].size,
        depths,
        latents=((1, latents[0]),) * 2 if latents else None,
        latent_reads_source=bool(latents),
        rngs=nnx.Rngs(0),
    )
    values = {}
    if modal:
        each = [_encoder(case, name) for name in modal]
        values |= {f"modal.{k}": np.stack([v[k] for v in each]) for k in each[0]}
    if cross:
        values |= prefixed("cross", _encoder(case, cross[0]))
    return assign(scene, values)


def _tokens(case, order):
    """x [A, M, S, D], slots bool [A, M, S], mask, position or None: each modality flattened, padded to one S."""
    size = max(case[f"in/{name}"][0, ..., 0].size for name in order)

    def grid(values, fill):
        flat = [v.reshape(v.shape[0], -1, *v.shape[3:]) for v in values]
        pads = [[(0, 0), (0, size - v.shape[1])] + [(0, 0)] * (v.ndim - 2) for v in flat]
        return jnp.asarray(np.stack([np.pad(v, p, constant_values=fill) for v, p in zip(flat, pads, strict=True)], 1))

    x = grid([case[f"in/{name}"] for name in order], 0.0)
    slots = grid([np.ones(case[f"in/{name}"].shape[:3], bool) for name in order], False)
    mask = grid([~case[f"in/mask_{name}"] for name in order], False)
    position = None
    if f"in/pos_{order[0]}" in case:
        position = grid([case[f"in/pos_{name}"] for name in order], 0.0)
    return x, slots, mask, position


def _flat(z, slots):
    """[A, T, S, D] -> [A, tokens, D], only the slots [A, T, S] that hold one."""
    return np.asarray(z)[:, np.asarray(slots[0])]


def scene_encoder(case):
    modal = [f"param/encoder.{ENCODERS[name]}." for name in LATE]
    has_latents = any(k.endswith("latent_queries") for k in case)

    def slots_of(z, slots):
        return jnp.ones(z.shape[:-1], bool) if has_latents else slots

    if "param/encoder.encoder.layers.0.self_attn.in_proj_weight" in case:
        x, slots, mask, position = _tokens(case, EARLY)
        z, _ = _scene(case, [], ["param/encoder.encoder."])(x, mask, position)
    elif "param/encoder.fusion_encoder.layers.0.self_attn.in_proj_weight" in case:
        x, slots, mask, position = _tokens(case, LATE)
        scene = _scene(case, modal, ["param/encoder.fusion_encoder."])
        z, _ = scene.streams(x, mask, position)
        # the stand-in's cross-modal stage attends to masked tokens too; ours masks them in `scene(...)`
        z, _ = scene.cross(z, slots_of(z, slots))
    else:
        x, slots, mask, position = _tokens(case, LATE)
        z, _ = _scene(case, modal, [])(x, mask, position)
    yield "y", _flat(z, slots_of(z, slots)), case["out/y"]
