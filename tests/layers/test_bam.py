"""BAM's block: its limits, what its routers do and learn, its losses, and how experts are made of dense blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.layers.bam import BAM, EXPERTS, ROUTERS
from fusion_jax.nn.init import stack
from fusion_jax.records import EVALUATION, Context
from tests.helpers import assign, drawn, parameters, run, small_graph
from tests.structures import cases

N, D, H, X = 7, 6, 2, 3
GRAPH = small_graph(N, 20)
INPUT = np.random.default_rng(0).normal(size=(N, D))
ATTENTION = ("query", "key", "value", "out")


def made(dim=D, out=None, **options):
    options = dict(heads=H, experts=X) | options
    return drawn(lambda: BAM(dim, out, rngs=nnx.Rngs(0), **options))


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def put(block, **kernels):
    for name, value in kernels.items():
        variable = getattr(block, name)
        (variable.kernel if isinstance(variable, nnx.Linear) else variable).set_value(jnp.asarray(value))
    return block


def alike(block, names=EXPERTS):
    """The block with its first expert in every place."""
    first = {name: getattr(block, name)[...] for name in names}
    return put(block, **{name: jnp.broadcast_to(a[:1], a.shape) for name, a in first.items()})


def steps(block, x=INPUT, graph=GRAPH, present=None):
    return run(block, x, graph, present, by=BAM.steps)


def losses_of(block, x, graph=GRAPH, present=None):
    return run(block, x, graph, present, EVALUATION, by=BAM.losses)


def by_hand(block, x, graph):
    """Attention and feed-forward of a block of one expert."""
    p = {name: np.asarray(v[...]) for name, v in parameters(block).items()}
    h = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * p["norm.scale"] + p["norm.bias"]
    q, k, v = ((h @ p[name][0]).reshape(len(x), H, -1) for name in ("query", "key", "value"))
    edges = np.zeros((len(x), len(x)))
    np.add.at(edges, (np.asarray(graph.looped.receivers), np.asarray(graph.looped.senders)), 1)
    weights = edges[..., None] * np.exp(np.einsum("ihd,jhd->ijh", q, k) / np.sqrt(D // H))
    weights /= weights.sum(1, keepdims=True)
    attended = np.einsum("ijh,jhd->ihd", weights, v).reshape(len(x), -1) @ p["out"][0]
    gate = h @ p["gate"][0]
    return attended, (gate / (1 + np.exp(-gate)) * (h @ p["up"][0])) @ p["down"][0]


@pytest.mark.parametrize("attention", ["expert_kv", "shared_kv", "one"])
def test_one_expert_is_the_dense_block(attention):
    block = made(experts=1, attention=attention)
    attended, fed = by_hand(block, INPUT, GRAPH)
    close(run(block, INPUT, GRAPH), INPUT + attended + fed)
    assert block.router_attn is None and block.router_ffn is None
    assert block.losses(INPUT, GRAPH, None, EVALUATION) == {}


@pytest.mark.parametrize("k", [1, 2, X])
def test_experts_that_are_alike(k):
    """The soft mixture is the one attention whatever its router; the other one is scaled by the p that are kept."""
    block = alike(made(k=k))
    found, (attended, fed) = steps(block), by_hand(block, INPUT, GRAPH)
    close(found.attn_out, attended)
    kept = np.sort(found.ffn_prob, axis=1)[:, -k:].sum(1, keepdims=True)
    close(found.ffn_out, kept * fed)
    assert kept.min() < 0.9 if k < X else np.allclose(kept, 1)


def test_attention_experts_differ_and_a_receiver_weighs_them():
    block = made()
    found = steps(block)
    for i in range(X):
        alone = put(made(), **{name: getattr(block, name)[...] for name in EXPERTS})
        for name in ATTENTION:
            kernel = getattr(block, name)[...]
            put(alone, **{name: jnp.broadcast_to(kernel[i : i + 1], kernel.shape)})
        close(found.attn_expert_out[:, i], by_hand(alone, INPUT, GRAPH)[0])
    close(found.attn_out, (found.attn_gate[..., None] * found.attn_expert_out).sum(1))
    close(found.attn_gate.sum(1), np.ones(N))


def test_shared_keys_and_values_are_those_of_all_experts():
    block, shared = alike(made(), ("key", "value")), made(attention="shared_kv")
    assert shared.key.shape == shared.value.shape == (1, D, D)
    given = {name: variable[...] for name, variable in parameters(block).items()}
    assign(shared, given | {name: given[name][:1] for name in ("key", "value")})
    close(run(shared, INPUT, GRAPH), run(block, INPUT, GRAPH))
    put(block, key=block.key[...].at[1].add(1.0))
    assert np.abs(run(shared, INPUT, GRAPH) - run(block, INPUT, GRAPH)).max() > 1e-3


def test_one_attention_beside_feed_forward_experts():
    block = made(attention="one")
    assert block.router_attn is None and block.router_ffn is not None
    close(steps(block).attn_out, by_hand(block, INPUT, GRAPH)[0])


@pytest.mark.parametrize("attention", ["expert_kv", "shared_kv"])
def test_experts_in_another_order_with_the_columns_of_their_routers(attention):
    block, order = made(attention=attention, k=2), np.array([2, 0, 1])
    before, losses = run(block, INPUT, GRAPH), losses_of(block, INPUT)
    for name in EXPERTS:
        kernel = getattr(block, name)[...]
        put(block, **{name: kernel[order] if len(kernel) == X else kernel})
    put(block, router_attn=block.router_attn.kernel[...][:, order])
    assert np.abs(run(block, INPUT, GRAPH) - before).max() > 1e-3
    put(block, router_ffn=block.router_ffn.kernel[...][:, order])
    close(run(block, INPUT, GRAPH), before)
    for name, value in losses_of(block, INPUT).items():
        close(value, losses[name])


def test_fewer_attention_experts():
    soft, best = made(), made(attention_k=1)
    found, chosen = steps(soft), steps(best)
    top = np.asarray(found.attn_gate).argmax(1)
    close(chosen.attn_gate, np.where(np.arange(X) == top[:, None], found.attn_gate, 0))
    close(chosen.attn_out, (np.asarray(chosen.attn_gate)[..., None] * found.attn_expert_out).sum(1))
    close(steps(made(attention_k=X)).out, found.out)


def test_the_router_learns_from_the_prediction_alone():
    """With the largest p made 1 it would get no gradient."""
    block = made(balance=0.0, z=0.0)
    grads = run(block, INPUT, by=lambda b, x: nnx.grad(lambda b: (b(x, GRAPH) ** 2).sum())(b))
    for name in ROUTERS:
        assert np.abs(getattr(grads, name).kernel[...]).max() > 1e-3, name
    assert block.losses(INPUT, GRAPH, None, EVALUATION) == {}


def test_losses_where_routing_is_uniform_balanced_and_collapsed():
    block = put(made(balance=1.0, z=1.0), router_ffn=np.zeros((D, X)))
    found = losses_of(block, INPUT)
    close(found["balance"], 1)
    close(found["router_z"], np.log(X) ** 2)
    found = steps(block)

    def balance(logits):
        p = jax.nn.softmax(jnp.asarray(logits))
        sent = p == p.max(1, keepdims=True)
        given = found._replace(ffn_logits=jnp.asarray(logits), ffn_prob=p, ffn_chosen=sent, out=jnp.zeros(len(p)))
        return block.balances(given)[0]

    even = 2.0 * np.eye(X)
    close(balance(even), 1)
    p = np.exp(2) / (np.exp(2) + X - 1)
    close(balance(np.repeat(even[:1], 5, axis=0)), X * p)


def test_losses_are_weighed_and_left_out():
    whole, half = made(balance=1.0, z=1.0), made(balance=0.5, z=0.0)
    (name,) = (found := losses_of(half, INPUT))
    assert name == "balance"
    close(found[name], losses_of(whole, INPUT)[name] / 2)


def test_absent_nodes_do_not_count():
    present = np.array([1, 1, 0, 1, 0, 1, 1], bool)
    block = made(k=2)
    rank, (senders, receivers) = np.cumsum(present) - 1, (np.asarray(GRAPH.senders), np.asarray(GRAPH.receivers))
    kept = present[senders] & present[receivers]
    less = Graph.create(rank[senders[kept]], rank[receivers[kept]], int(present.sum()))
    x = np.where(present[:, None], INPUT, np.nan)
    close(run(block, x, GRAPH, present)[present], run(block, INPUT[present], less))
    for name, value in losses_of(block, x, present=present).items():
        close(value, losses_of(block, INPUT[present], less)[name])


def test_each_graph_of_a_batch_by_itself_and_rows_that_are_none():
    counts = (4, 1, 6)
    graph, block = cases.batch(1, n_node=counts, weighted=False), made()
    x = np.random.default_rng(3).normal(size=(sum(counts), D))
    together = run(block, x, graph)
    more = np.concatenate([x, np.full((2, D), np.nan)])
    close(run(block, more, cases.with_rows(graph, 2))[: len(x)], together)
    for name, value in losses_of(block, more, cases.with_rows(graph, 2)).items():
        close(value, losses_of(block, x, graph)[name])

    def slopes(block, x, edges):
        return nnx.grad(lambda block: block(x, edges)[: len(together)].sum())(block)

    grads = [parameters(run(block, *given, by=slopes)) for given in ((x, graph), (more, cases.with_rows(graph, 2)))]
    for name, value in grads[0].items():
        close(grads[1][name][...], value[...])
    senders, receivers = np.asarray(graph.senders), np.asarray(graph.receivers)
    own = receivers < 4
    close(together[:4], run(block, x[:4], Graph.create(senders[own], receivers[own], 4)))


def test_what_it_shows():
    block, found = made(), steps(made())
    edges, attention, fed = block.attention(INPUT, GRAPH, None, Context(key=jax.random.key(0)))
    close(edges.weights, found.weights)
    total = np.zeros((N, X, H))
    np.add.at(total, np.asarray(edges.receivers), np.asarray(edges.weights))
    close(total, np.ones((N, X, H)))
    close(attention.weights, found.attn_gate)
    close(fed.weights, np.where(found.ffn_chosen, found.ffn_prob, 0))
    assert attention.normalised and not fed.normalised and np.asarray(found.ffn_chosen).sum() == N


@pytest.mark.parametrize("attention", ["expert_kv", "shared_kv", "one"])
def test_experts_are_copied_bit_by_bit_and_all_else_is_averaged(attention):
    rng, block = np.random.default_rng(5), made(5, D, attention=attention)
    dense = [made(5, D, attention=attention).dense() for _ in range(X)]
    for one in dense:
        for variable in parameters(one).values():
            variable.set_value(jnp.asarray(rng.normal(size=variable.shape)))
    routers = {name: v[...] for name, v in parameters(block).items() if name.startswith(ROUTERS)}
    block.upcycle(dense)
    once = {"shared_kv": ("key", "value"), "one": ATTENTION}.get(attention, ())
    for name in EXPERTS:
        parts = np.concatenate([getattr(one, name)[...] for one in dense])
        expected = parts.mean(0, keepdims=True) if name in once else parts
        (close if name in once else np.testing.assert_array_equal)(getattr(block, name)[...], expected)
    for name in ("norm.scale", "norm.bias", "project.kernel", "project.bias"):
        close(parameters(block)[name][...], np.mean([parameters(one)[name][...] for one in dense], axis=0))
    for name, value in routers.items():
        np.testing.assert_array_equal(parameters(block)[name][...], value)


def test_a_dense_block_is_the_first_expert_and_the_plain_mean_is_dense():
    block, before = made().dense(), made()
    assert block.experts == 1 and not set(parameters(block)) & {f"{name}.kernel" for name in ROUTERS}
    found = steps(before)
    close(steps(block).attn_out, found.attn_expert_out[:, 0])
    assert made(k=2, attention_k=2).dense().k == 1 and made(attention_k=2).dense().attention_k is None
    others = [put(made().dense(), **{name: i * getattr(before, name)[:1] for name in EXPERTS}) for i in (1, 3)]
    block.upcycle(others)
    for name in EXPERTS:
        close(getattr(block, name)[...], 2 * getattr(before, name)[:1])
    with pytest.raises(ValueError, match="experts=3 cannot be made of 2"):
        made().upcycle(others)


def test_blocks_of_several_streams_are_upcycled_stream_by_stream():
    many = stack(lambda rngs: BAM(D, heads=H, experts=2, rngs=rngs), 2, nnx.Rngs(0))
    dense = [stack(lambda rngs: BAM(D, heads=H, experts=2, rngs=rngs), 2, nnx.Rngs(i)).dense() for i in (1, 2)]
    assert dense[0].gate.shape == (2, 1, D, 2 * D) and dense[0].experts == 1
    many.upcycle(dense)
    for i, name in ((i, name) for i in range(2) for name in EXPERTS):
        np.testing.assert_array_equal(getattr(many, name)[...][:, i], getattr(dense[i], name)[...][:, 0])


@pytest.mark.filterwarnings("ignore:bcsr_dot_general")
def test_bfloat16_stays():
    block = made()
    low = nnx.merge(nnx.graphdef(block), jax.tree.map(lambda a: a.astype(jnp.bfloat16), nnx.state(block)))
    found = run(low, jnp.asarray(INPUT, jnp.bfloat16), GRAPH)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), run(block, INPUT, GRAPH), atol=0.1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(heads=4), "heads=4 does not divide the width D=6"),
        (dict(attention="shared"), "attention='shared'.*shared_kv"),
        (dict(experts=0), "experts=0"),
        (dict(k=4), "k=4; expected 1 to 3"),
        (dict(attention_k=0), "attention_k=0; expected 1 to 3"),
        (dict(attention="one", attention_k=2), "attention_k=2; expected 1 to 1"),
        (dict(balance=-1.0), "balance=-1.0"),
    ],
)
def test_refusals(wrong, message):
    with pytest.raises(ValueError, match=f"graph layer 'bam': {message}"):
        BAM(D, **dict(heads=H, experts=X) | wrong, rngs=nnx.Rngs(0))
