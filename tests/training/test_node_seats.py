"""Nodes over devices: a training gives the numbers it has on one, saved on some it goes on with others."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fusion_jax.records import Batch, Target
from fusion_jax.training.node_seats import beside, node_seats
from fusion_jax.training.state import initial_state
from tests import tiny

BEGIN = """
import sys
import jax, numpy as np
from etils import epath
from fusion_jax.training import checkpoint, programs, sharding, stopping
from fusion_jax.training.checkpoint import Partial
from tests import staged, tiny

assert jax.device_count() == 8
made, kept, texts = sharding.seats, programs.compiled, []
sharding.seats = lambda seeds, given=None: made(seeds, jax.devices()[:1])

def seen(key, make):
    texts.append(kept(key, make))
    return texts[-1]

programs.compiled = seen
data = tiny.dataset()

def same(found, whole, tol=1e-5):
    np.testing.assert_array_equal(found.best_epoch, whole.best_epoch)
    np.testing.assert_allclose(found.prediction, whole.prediction, rtol=tol, atol=tol)
    for k, v in found.history.items():
        np.testing.assert_allclose(v, whole.history[k], rtol=tol, atol=tol)
    for a, b in zip(*map(jax.tree.leaves, (found.params, whole.params))):
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol)
    assert found.diverged == {}
"""

TRAINED = """
seeds = (0, 1)
whole = tiny.train(data, seeds)
found = tiny.train(data, seeds, training__node_devices=8)
same(found, whole)
text = texts[-1].as_text()
assert "all-to-all(" in text and "all-gather(" not in text, "nobody needs the rows of all"
assert found.cost["peak_bytes"] < whole.cost["peak_bytes"]

several = dict(  # dropout of features, edges and modalities; a fusion that draws for each node; two streams
    model__layer__name="gat", model__layer__options=dict(rate=0.3, heads=2), model__placement="after",
    model__fusion__name="concat_mlp", model__fusion__options=dict(rate=0.3, hidden=63),  # as many as rows of nodes
    model__encoder__options=dict(rate=0.2), model__missing="learned",
    scheme__name="modality_dropout", training__seed_axis="vmap", training__snapshots=2,
)
same(tiny.train(data, seeds, training__node_devices=3, **several), tiny.train(data, seeds, **several))

values = tiny.load_data("synthetic_values", nodes=40)
own = dict(model__layer__name="sage", model__placement="decision")
same(tiny.train(values, seeds, training__node_devices=8, **own), tiny.train(values, seeds, **own))
"""

RESUMED = """
folder = epath.Path(sys.argv[1])
for devices, epochs in ((8, 2), (3, 4)):
    try:
        tiny.train(data, seeds, staged.Interrupted(folder, 0.0), training__chunk=2, training__node_devices=devices)
    except stopping.Stopped:
        pass
    saved = checkpoint.restore(folder / f"step-{epochs:08d}")
    rows = {v.shape[:2] for k, v in saved["state"].items() if "best_prediction" in k}
    assert rows == {(2, data.num_nodes)}, "rows of no node are not saved"
same(tiny.train(data, seeds, Partial(folder, 0.0), training__chunk=2), whole)
"""

REFUSED = """
try:
    tiny.train(data, seeds, training__node_devices=9)
except ValueError as error:
    assert str(error) == "training.node_devices=9, expected 1 to 8, the number of devices here", error
else:
    raise AssertionError("nine of eight devices")
"""


def test_a_training_on_several_devices_gives_the_numbers_of_one(tmp_path):
    """In one process: its start takes longer than most of that."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    env = {**os.environ, "XLA_FLAGS": flags, "JAX_ENABLE_X64": "0", "JAX_NUMPY_DTYPE_PROMOTION": "standard"}
    code = [sys.executable, "-c", BEGIN + TRAINED + RESUMED + REFUSED, str(tmp_path)]
    done = subprocess.run(code, env={**env, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_records_go_to_the_devices_and_come_back_in_the_order_of_the_data():
    with tiny.as_users_run():
        data = tiny.dataset()
        ready = tiny.prepared(tiny.cell().plan, data, (0, 1))
        seats, n = node_seats(2, ready.batch, 1), data.num_nodes
        state = initial_state(dict(w=jnp.ones(3)), {}, optax.sgd(0.1), n, 2)
        state = jax.tree.map(lambda a: jnp.stack([a, a]), state)
        marked = np.arange(2.0 * n * 2, dtype=np.float32).reshape(2, n, 2)
        given = dataclasses.replace(state, best_prediction=jnp.asarray(marked))
        laid, trials, target = seats.laid((given, ready.trials, ready.target))
        nobody = seats.where.node.reshape(-1) == n
        assert laid.best_prediction.shape == (2, n + 1, 2) and not trials.train_weight[:, nobody].any()
        np.testing.assert_array_equal(laid.best_prediction[:, seats.where.row], marked)
        for before, after in zip((given, ready.trials, ready.target), seats.here((laid, trials, target)), strict=True):
            pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
            for a, b in pairs:
                a, b = (jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in (a, b))
                np.testing.assert_array_equal(a, b)


def test_a_row_of_no_node_has_nothing_and_what_its_task_shows_of_a_hidden_row():
    with tiny.as_users_run():
        ready = tiny.prepared(tiny.cell().plan, tiny.dataset(), (0,))
        seats = node_seats(1, ready.batch, 1)
        nobody = seats.where.node.reshape(-1) == seats.where.nodes
        batch = seats.everywhere(ready.batch)
        assert isinstance(batch, Batch) and batch.names == ready.batch.names
        assert not batch.mask[nobody].any() and not batch.graph.present[nobody].any() and nobody.sum() == 1
        count = seats.where.nodes
        target = Target("survival", time=jnp.full((1, count), 5.0), event=jnp.ones((1, count), bool))
        laid = seats.laid(target)
        assert laid.time[0, nobody] == 1 and not laid.event[0, nobody] and (laid.time[0, ~nobody] == 5).all()


def test_beside_nothing_changes_on_a_cpu():
    for devices in (0, 4):
        with beside(devices):
            assert jnp.ones(1).devices() == {jax.devices()[0]}
