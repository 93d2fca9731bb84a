"""Nodes over devices: a training gives the numbers it has on one, saved on some it goes on with others."""

import os
import subprocess
import sys

BEGIN = """
import sys
import jax, numpy as np
from etils import epath
from fusion_jax.training import checkpoint, programs, sharding, stopping
from fusion_jax.training.checkpoint import Partial
from tests import tiny

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
    model__fusion__name="concat_mlp", model__fusion__options=dict(rate=0.3), model__encoder__options=dict(rate=0.2),
    model__missing="learned", scheme__name="modality_dropout", training__seed_axis="vmap", training__snapshots=2,
)
same(tiny.train(data, seeds, training__node_devices=3, **several), tiny.train(data, seeds, **several))

values = tiny.load_data("synthetic_values", nodes=40)
own = dict(model__layer__name="sage", model__placement="decision", model__fusion__name="late_logits")
same(tiny.train(values, seeds, training__node_devices=8, **own), tiny.train(values, seeds, **own))
"""

RESUMED = """
class Interrupted(Partial):
    def at_border(self, state, history):
        stopping.ask()
        try:
            super().at_border(state, history)
        finally:
            stopping.forget()

folder = epath.Path(sys.argv[1])
for devices, epochs in ((8, 2), (3, 4)):
    try:
        tiny.train(data, seeds, Interrupted(folder, 0.0), training__chunk=2, training__node_devices=devices)
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
