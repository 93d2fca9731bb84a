"""MoH: the DiT, ViT and LLaMA attentions; the reference's batch is our node axis."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax.fusion import moh, moh_llama, moh_vit
from fusion_jax.records import Context
from tests.helpers import assign, linear, shown

# The reference has the rotary tables and the attention softmax in float32.
RTOL = {"llama": 1e-6}
FLOAT32 = 1e-6  # its load-balance loss has the fraction of tokens in float32


def snap(ours, reference):
    """`ours`, or the reference's where they agree to float32: the only number here it computes in float32."""
    return np.where(np.abs(ours - reference) <= FLOAT32 * np.abs(reference), reference, ours)


def routing(case):
    return {
        "heads": int(case["cfg_num_heads"]),
        "shared": int(case["cfg_shared"]),
        "routed": int(case["cfg_routed"]),
    }


def routers(case):
    names = [k.split("/")[1].split(".")[0] for k in case if k.startswith("param/wg")]
    return {f"router.{n}.kernel": case[f"param/{n}.weight"].T for n in names}


def projections(case):
    return {
        **linear("qkv", case, "param/qkv.weight", "param/qkv.bias"),
        **linear("proj", case, "param/proj.weight", "param/proj.bias"),
    }


def compare(case, module):
    x = case["x"]
    mask = np.ones(x.shape[:2], bool)
    fused = module(x, mask, context=Context(key=jax.random.key(0)))
    yield "y", fused.tokens, case["y"]
    yield "out", fused.out, case["y"].mean(1)
    if "router_prob" not in case:
        return
    router, shared = shown(fused, "router"), int(case["cfg_shared"])
    yield "router_prob", router, case["router_prob"]
    chosen = shown(fused, "gates")[..., shared:] > 0
    index = jnp.argsort(jnp.where(chosen, -router, np.inf), axis=-1)
    yield "router_topk_index", index[..., : int(case["cfg_routed"])], case["router_topk_index"]
    yield "heads on", chosen.sum(-1), np.full(x.shape[:2], int(case["cfg_routed"]))
    if case.get("aux_load_balance", np.empty(0)).size:
        ours = np.asarray(fused.losses["load_balance"])[None]
        yield "aux_load_balance", snap(ours, case["aux_load_balance"]), case["aux_load_balance"]


def dit(case):
    m, dim = case["x"].shape[1:]
    module = moh.MoH(m, dim, **routing(case), balance=1.0, rngs=nnx.Rngs(0))
    assign(module, {**projections(case), **routers(case)})
    yield from compare(case, module)


def vit(case):
    m, dim = case["x"].shape[1:]
    coordinates = case["relative_coords_table"][case["relative_pos_index"].reshape(m, m)]
    hidden = case["param/cpb_fc1.bias"].size
    module = moh_vit.MoHViT(
        m,
        dim,
        **routing(case),
        balance=1.0,
        coordinates=coordinates.tolist(),
        hidden=hidden,
        rngs=nnx.Rngs(0),
    )
    assign(
        module,
        {
            **projections(case),
            **routers(case),
            **linear("cpb.fc1", case, "param/cpb_fc1.weight", "param/cpb_fc1.bias"),
            **linear("cpb.fc2", case, "param/cpb_fc2.weight", "param/cpb_fc2.bias"),
            "temperature": case["param/temperature"],
            "query_embedding": case["param/query_embedding"],
        },
    )
    yield from compare(case, module)


def llama(case):
    m, dim = case["x"].shape[1:]
    module = moh_llama.MoHLlama(
        m,
        dim,
        **routing(case),
        kv_heads=int(case["cfg_num_kv_heads"]),
        theta=float(case["rope_theta"]),
        positions=case["position_ids"][0].tolist(),
        rngs=nnx.Rngs(0),
    )
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    assign(module, {f"{n}.kernel": case[f"param/{n}.weight"].T for n in names})
    yield from compare(case, module)
    *_, router = module(case["x"], np.ones(case["x"].shape[:2], bool)).attention
    yield "query_norm_routed", router.scores, case["query_norm_routed"]
