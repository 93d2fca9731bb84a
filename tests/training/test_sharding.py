"""Seeds over devices: all of them are used, whatever the number of seeds, and the numbers are those of one device."""

import os
import subprocess
import sys

import numpy as np
import pytest

from fusion_jax.training.sharding import seats

BEGIN = """
import sys
import jax, numpy as np
from fusion_jax.training import sharding
from fusion_jax.training.sharding import Seats
from fusion_jax.schemes.base import Stage
from tests import staged, tiny

assert jax.device_count() == 8
made, told, outputs = sharding.seats, Seats.of_seeds, []

def on(devices):
    sharding.seats = lambda seeds, given=None: made(seeds, jax.devices()[:devices])

def seen(self, state):
    for leaf in jax.tree.leaves(state):
        parts = {s.device: s.data.shape[0] for s in leaf.addressable_shards}
        outputs.append((len(leaf), len(parts), set(parts.values())))
    return told(self, state)

Seats.of_seeds = seen
data = tiny.dataset()

def same(found, whole, tol=1e-5):
    count = len(found.prediction)
    np.testing.assert_array_equal(found.best_epoch, whole.best_epoch[:count])
    np.testing.assert_allclose(found.prediction, whole.prediction[:count], rtol=tol, atol=tol)
    for k, v in found.history.items():
        np.testing.assert_allclose(v, whole.history[k][:count], rtol=tol, atol=tol)
    for a, b in zip(*map(jax.tree.leaves, ((found.params, found.snapshots), (whole.params, whole.snapshots)))):
        np.testing.assert_allclose(a, b[:count], rtol=tol, atol=tol)
    assert found.diverged == {} and all(len(leaf) == count for leaf in jax.tree.leaves(found.params))
"""

COUNTS = """
on(1)
whole = tiny.train(data, range(11))
assert whole.cost["flops_seeds"] == 1
for count in (3, 5, 8, 11):
    on(8)
    outputs.clear()
    found = tiny.train(data, range(count), training__seed_axis="auto")
    each = -(-count // 8)
    assert outputs and all(o == (each * min(count, 8), min(count, 8), {each}) for o in outputs), (count, outputs)
    same(found, whole)
    assert found.cost["flops_seeds"] == 1
    np.testing.assert_allclose(found.cost["flops"], whole.cost["flops"], rtol=0.2)
batched = tiny.train(data, range(11), training__seed_axis="vmap")
same(batched, whole, 1e-3)
assert batched.cost["flops_seeds"] == 2, "of the rows of one device"
"""

RESUMED = """
from etils import epath
from fusion_jax.training import checkpoint, stopping
from fusion_jax.training.checkpoint import Partial

folder = epath.Path(sys.argv[1])
for devices, epochs in ((8, 2), (1, 4)):
    on(devices)
    try:
        tiny.train(data, range(11), staged.Interrupted(folder, 0.0), training__chunk=2)
    except stopping.Stopped:
        pass
    saved = checkpoint.restore(folder / f"step-{epochs:08d}")
    assert {len(leaf) for leaf in saved["state"].values()} == {11}, "no idle row is saved"
    assert {v.shape for v in saved["history"].values()} == {(11, epochs)}
on(4)
outputs.clear()
same(tiny.train(data, range(11), Partial(folder, 0.0), training__chunk=2), whole)
assert outputs and all(o == (12, 4, {3}) for o in outputs)
"""

SCHEME = """
dropped = {}
for devices in (1, 8):  # a scheme works on what all seeds share, the batch
    on(devices)
    dropped[devices] = tiny.train(data, range(3), training__epochs=2, scheme__name="modality_dropout")
same(dropped[8], dropped[1])
"""

STAGED = """
begun = []
def begin(model, *args):
    begun.append(model)
    return model

stages = [Stage(2, snapshots=(1,)), Stage(0, begin=begin), Stage(3, begin=begin, start="last")]
ready, found = staged.prepared(data, (0, 1, 2)), {}
for devices in (1, 2):
    on(devices)
    begun.clear()
    found[devices] = staged.train(ready, stages, snapshots=2)
    assert len(begun) == 6, "an idle row begins nothing"
same(found[2], found[1])
assert found[2].snapshots.keys() == found[1].snapshots.keys() and len(found[1].snapshots) == 3
"""

ITSELF = """
from flax import nnx
from fusion_jax.nn.long_sequence import Softmax

kinds = [nnx.List([Softmax(4, 4, 1, shards=shards, rngs=nnx.Rngs(0))]) for shards in (1, 2)]
assert [sharding.spread(kind) for kind in kinds] == [False, True]
sharding.seats, sharding.spread = made, lambda model: True
outputs.clear()
same(staged.train(ready, stages, snapshots=2), found[1])
assert outputs and {o[1] for o in outputs} == {1}, "what lies over the devices by itself leaves no room for seeds"
"""


def test_any_number_of_seeds_uses_all_devices_and_gives_the_numbers_of_one(tmp_path):
    """3, 5, 8 and 11 seeds; saved on eight devices, gone on with on one and then on four; stages; models that take the
    devices themselves. In one process: its start takes longer than all of that."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    env = {**os.environ, "XLA_FLAGS": flags, "JAX_ENABLE_X64": "0", "JAX_NUMPY_DTYPE_PROMOTION": "standard"}
    code = [sys.executable, "-c", BEGIN + COUNTS + RESUMED + SCHEME + STAGED + ITSELF, str(tmp_path)]
    done = subprocess.run(code, env={**env, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_seats_on_one_device_are_the_seeds():
    one = seats(3)
    assert one.rows.tolist() == one.own.tolist() == [0, 1, 2] and not one.idle.any() and one.each == 3
    tree = dict(a=np.arange(3))
    assert one.taken(tree) is one.laid(tree) is one.of_seeds(tree) is tree


def test_an_axis_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="training.seed_axis='vmpa'; expected 'auto', 'vmap' or 'map'"):
        seats(1).mapped(lambda shared, x: x, "vmpa")(None, np.zeros(1))
