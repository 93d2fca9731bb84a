"""Xue et al.'s token mixers on tokens, through `attend`, `MultiHeadAttention`, and along the edges of whole graphs."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax import zoo
from fusion_jax.analysis.attention_patterns import indicators
from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import MultiHeadAttention, attend
from fusion_jax.nn.mixing import Building, Mixing
from fusion_jax.nn.segment import edge_attend
from tests.helpers import assign

IN_OUR_WORDS = {"fixed": ("rnd_emb_qk", "fixed_seq_qk"), "static": ("static_emb_qk",)}


def mixer(name, **options):
    return zoo.make("mixer", name, 1, 1, options=options, rngs=nnx.Rngs(0))


def split(x, heads):
    return x.reshape(*x.shape[:-1], heads, -1)


def joined(x):
    return x.reshape(*x.shape[:-2], -1)


def seen(mode, mask):
    """bool [B, L, L], what each query may see."""
    length = mask.shape[-1]
    triangle = np.tril(np.ones((length, length), bool)) if mode == "causal" else np.ones((length, length), bool)
    return jnp.asarray(mask[:, None, :] & triangle)


def mixed(one, q, k, v, mask, stream=None):
    with Mixing("a case", one, {1}, stream=stream).inside():
        return attend(q, k, v, mask)


def along_edges(one, q, k, v, mask):
    """One item: every pair of tokens that may see each other is an edge."""
    receivers, senders = np.nonzero(np.asarray(mask))
    with Mixing("a case", one, {1}).inside():
        out, weights = edge_attend(q, k, v, graph := Graph.create(senders, receivers, len(mask)))
    dense = jnp.zeros((q.shape[1], len(mask), len(mask)), weights.dtype)
    return out, dense.at[:, graph.receivers, graph.senders].set(weights.T)


def attention_of(case):
    """The projections of a case, the output as it comes; its weights are those of `attend`."""
    d, heads = case["W_Q"].shape[0], int(case["heads"])
    module = MultiHeadAttention(d, heads, bias=False, out_bias=False, rngs=nnx.Rngs(0))
    weights = {"query": "W_Q", "key": "W_K", "value": "W_V"}
    kernels = {f"{ours}.kernel": case[theirs] for ours, theirs in weights.items()}
    return assign(module, {**kernels, "out.kernel": np.eye(d)})


def variants(case):
    heads, mask = int(case["heads"]), case["mask"]
    h, e, x = (jnp.asarray(case[name]) for name in ("H", "E", "X"))
    q, k, v = (split(h @ case[f"W_{name}"], heads) for name in "QKV")
    fixed = split(x @ case["W_Q"], heads), split(x @ case["W_K"], heads)
    attention = attention_of(case)
    for mode in sorted({name.split(".")[1] for name in case if name.endswith(".A")}):
        see = seen(mode, mask)
        for name in sorted({name.split(".")[0] for name in case if name.endswith(f".{mode}.A")}):
            for ours in IN_OUR_WORDS.get(name, (name,)):
                one = mixer(ours)
                what = f"{ours}, {mode}"
                if one.static:
                    with Mixing("a case", one, {2}).inside():
                        attention(e, mask=see)
                        out, weights = attention(h, mask=see)
                    yield f"{what}: O", out, case[f"{name}.{mode}.O"]
                else:
                    out, weights = mixed(one, q, k, v, see, stream=[fixed] if one.streams else None)
                    yield f"{what}: O", joined(out), case[f"{name}.{mode}.O"]
                yield f"{what}: A", weights, case[f"{name}.{mode}.A"]
                if one.static or one.streams:
                    continue
                edges = [along_edges(one, *(a[i] for a in (q, k, v)), see[i]) for i in range(len(h))]
                yield f"{what}, edges: O", joined(np.stack([o for o, _ in edges])), case[f"{name}.{mode}.O"]
                yield f"{what}, edges: A", np.stack([a for _, a in edges]), case[f"{name}.{mode}.A"]
    yield "mlp", gated(case)(h, mask=jnp.asarray(mask))[0], case["mlp.O"]
    said = indicators(case["standard.causal.A"][1], causal=True)
    yield "entropy", said.entropy, case["ind.entropy"]
    yield "concentration", said.concentration, case["ind.concentration"]
    yield "head diversity", said.head_diversity, case["ind.headdiv"]
    yield "sink", said.sink, case["ind.sink"]
    yield "local focus", said.local_focus[:, : case["ind.locfoc"].shape[-1]], case["ind.locfoc"]


def gated(case):
    """The case's MLP in the place of attention; its hidden width is given, that of 3 D^2 parameters."""
    d, heads = case["W_gate"].shape[0], int(case["heads"])
    with Building(None).inside():
        module = MultiHeadAttention(d, heads, bias=False, out_bias=False, rngs=nnx.Rngs(0))
    for ours, theirs in (("gate", "W_gate"), ("up", "W_up"), ("down", "W_down")):
        getattr(module, ours).kernel.set_value(jnp.asarray(case[theirs]))
    return module


def taylor(case):
    heads = int(case["heads"])
    x = jnp.asarray(case["x"])
    q, k, v = (split(x @ case[f"proj_{name}.weight"].T, heads) for name in "qkv")
    for name, ours in (("q", q), ("k", k), ("v", v)):
        yield name, jnp.swapaxes(ours, 1, 2), case[name]
    everything = np.ones(x.shape[:2], bool)
    for mode in sorted({name.split(".")[1] for name in case if name.endswith(".heads")}):
        see = seen(mode, everything)
        out, weights = mixed(mixer("approximate"), q, k, v, see)
        yield f"A, {mode}", weights, case[f"joint.{mode}.A"]
        yield f"heads, {mode}", joined(out), case[f"joint.{mode}.heads"]
        yield f"out, {mode}", joined(out) @ case["out_proj.weight"].T, case[f"joint.{mode}.out"]
        if mode == "causal":
            yield "the layer of Based", joined(out) @ case["out_proj.weight"].T, case["based_out"]
        yield from printed(case, mode, q, k, v, see)


def printed(case, mode, q, k, v, see):
    """The three terms: the first is what is left where q is 0, the others what their forms add."""
    elementwise, tensor = (mixed(mixer("approximate", form=f"printed{f}"), q, k, v, see)[0] for f in ("", "_tensor"))
    zeroth = mixed(mixer("approximate"), 0 * q, k, v, see)[0]
    keys = np.einsum("btl,blhd->bthd", np.asarray(see, float), k)
    first = np.einsum("bthd,bthde->bthe", q, np.einsum("btl,blhd,blhe->bthde", np.asarray(see, float), k, v))
    denominator = (np.asarray(q) * keys).sum(-1)
    first = first / denominator[..., None]
    values = {
        "zeroth": zeroth,
        "first": first,
        "second_elementwise": elementwise - zeroth - first,
        "second_tensor": tensor - zeroth - first,
        "sum_elementwise": elementwise,
        "sum_tensor": tensor,
    }
    for name, ours in values.items():
        yield f"printed {name}, {mode}", jnp.swapaxes(ours, 1, 2), case[f"printed.{mode}.{name}"]
    yield f"first denominator, {mode}", np.swapaxes(denominator, 1, 2), case[f"printed.{mode}.first_denominator"]
