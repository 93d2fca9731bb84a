"""Attention over several devices against one: devices of a host, in a process of their own, which has four."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.nn.ring_attention import attend_ring, revolve, ring_mesh
from fusion_jax.nn.running_softmax import attend_all, finish

FOUR = """
import jax, jax.numpy as jnp, numpy as np
from fusion_jax.nn.ring_attention import attend_ring, ring_mesh
from fusion_jax.nn.running_softmax import attend_all

assert len(jax.devices()) == 4
rng = np.random.default_rng(0)
T, H, D, E = 22, 2, 3, 4  # 22 is no multiple of 4, nor are its 11 pairs
args = tuple(rng.normal(size=(T, H, width)) for width in (D, D, E))
weight, valid = rng.normal(size=(T, H, E)), rng.random(T) < 0.7
valid[:6] = False  # the first of four devices has no key
group = np.repeat([0, 1], [9, 13])

def with_gradient(attend):
    def run(q, k, v, group):
        out = attend(q, k, v, valid, group)
        return (out * weight.astype(out.dtype)).sum(), out
    return jax.jit(jax.value_and_grad(run, (0, 1, 2), has_aux=True))

for dtype, tol in ((np.float64, 1e-12), (np.float32, 1e-5)):
    given = tuple(jnp.asarray(a, dtype) for a in args)
    for of in (None, jnp.asarray(group)):
        expected = with_gradient(attend_all)(*given, of)
        for shards in (1, 2, 4):
            mesh = ring_mesh("test", shards)
            for options in (dict(block=512), dict(block=2, together=2)):
                found = with_gradient(lambda *a: attend_ring(*a, mesh=mesh, **options))(*given, of)
                for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
                    assert a.dtype == b.dtype == dtype
                    np.testing.assert_allclose(a, b, rtol=tol, atol=tol * float(abs(b).max()), err_msg=str(shards))

mesh, given = ring_mesh("test", 4), tuple(jnp.asarray(a) for a in args)
ring = jax.jit(lambda q, k, v: attend_ring(q, k, v, valid, mesh=mesh))
even = tuple(jax.ShapeDtypeStruct((24, H, width), jnp.float64) for width in (D, D, E))
free = jax.jit(lambda q, k, v: attend_ring(q, k, v, jnp.arange(24) < 9, mesh=mesh))
text = free.lower(*even).compile().as_text()
assert "collective-permute" in text and "all-gather" not in text, "keys go around, nothing is gathered"
pairs = tuple(jax.ShapeDtypeStruct((18, H, width), jnp.float64) for width in (D, D, E))
for together, each in ((1, 5), (2, 6)):  # nine pairs: three a device, the last of them filled up
    traced = jax.make_jaxpr(lambda *a: attend_ring(*a, jnp.ones(18, bool), mesh=mesh, together=together))(*pairs)
    assert f"f64[{H},{each},{D}]" in str(traced), traced
spoilt = [jnp.where(valid[:, None, None], a, jnp.nan) for a in given[1:]]
np.testing.assert_array_equal(ring(given[0], *spoilt), ring(*given))
two = jax.vmap(ring, (0, None, None))(jnp.stack([given[0], 2 * given[0]]), *given[1:])
np.testing.assert_allclose(two[1], ring(2 * given[0], *given[1:]), rtol=1e-12)
"""


def on_four_devices(code: str) -> None:
    """Runs the code in a process that has four devices."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    env = {**os.environ, "XLA_FLAGS": flags, "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_devices_give_the_numbers_of_one_and_its_gradients():
    on_four_devices(FOUR)


T, H, D, P = 8, 2, 3, 4
RNG = np.random.default_rng(0)
Q, K, V = (jnp.asarray(RNG.normal(size=(P, H, T // P, D))) for _ in range(3))  # a shard in front


def revolved(valid, group=None):
    group = jnp.zeros((P, T // P), jnp.int32) if group is None else group
    run = jax.vmap(lambda *args: revolve(*args, shards=P), axis_name="nodes")
    return run(Q, K, V, valid, group)


def test_a_device_meets_the_shards_in_turn_and_one_without_keys_changes_nothing():
    valid = jnp.ones((P, T // P), bool).at[2].set(False)
    last, states = revolved(valid)
    for device in range(P):
        for step in range(1, P):
            pairs = [(a[device, step], a[device, step - 1]) for a in states]
            same = all(np.array_equal(now, before) for now, before in pairs)
            assert same == ((device + step) % P == 2), (device, step)
    for a, b in zip(last, states, strict=True):
        np.testing.assert_array_equal(a, b[:, -1])
    flat = (jnp.moveaxis(a, 1, 2).reshape(T, H, D) for a in (Q, K, V))
    out = jnp.moveaxis(finish(last), 1, 2).reshape(T, H, D)
    np.testing.assert_allclose(out, attend_all(*flat, valid.reshape(T)), rtol=1e-12)


def test_groups_may_lie_across_shards():
    group = jnp.asarray([0, 0, 0, 1, 1, 1, 1, 2])
    valid = jnp.ones(T, bool)
    last, _ = revolved(valid.reshape(P, -1), group.reshape(P, -1))
    flat = (jnp.moveaxis(a, 1, 2).reshape(T, H, D) for a in (Q, K, V))
    out = jnp.moveaxis(finish(last), 1, 2).reshape(T, H, D)
    np.testing.assert_allclose(out, attend_all(*flat, valid, group), rtol=1e-12)


@pytest.mark.parametrize("shards", [0, len(jax.devices()) + 1])
def test_more_shards_than_devices_are_refused_by_name(shards):
    with pytest.raises(ValueError, match=rf"layer 'mine': shards={shards}, expected 1 to {len(jax.devices())}"):
        ring_mesh("layer 'mine'", shards)


def test_a_ring_of_one_device_is_plain():
    flat = [jnp.moveaxis(a, 1, 2).reshape(T, H, D) for a in (Q, K, V)]
    valid = jnp.arange(T) != 3
    out = attend_ring(*flat, valid, mesh=ring_mesh("test", 1), block=3)
    np.testing.assert_allclose(out, attend_all(*flat, valid), rtol=1e-12)


def test_a_device_holds_scores_of_one_block_alone():
    """In the gradient too: nothing of all its queries and all its keys, and no block is kept for the way back."""
    flat = [jnp.moveaxis(a, 1, 2).reshape(T, H, D) for a in (Q, K, V)]
    mesh, valid = ring_mesh("test", 1), jnp.ones(T, bool)

    def loss(*args):
        return attend_ring(*args, valid, mesh=mesh, block=2).sum()

    text = str(jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(*flat))
    assert f"f64[{H},{T},2]" in text
    for kept in (f"{H},{T},{T}", f"4,{H},{T},2", f"1,4,{H},{T},2", f"1,4,{H},{T}", f"1,4,{H},2,{D}"):
        assert f"f64[{kept}]" not in text, kept
