"""Losses that say they are means over rows: batches add up to the loss of all, each at its share of the weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax import zoo
from fusion_jax.records import Context, Output, Target

ROWS, MODALITIES, CLASSES = 12, 2, 3
ROWWISE = sorted(name for name in zoo.names("loss") if getattr(zoo.info("loss", name), "rowwise", False))
RNG = np.random.default_rng(0)


def target(loss: str) -> Target:
    kind = (zoo.info("loss", loss).tasks or ("classes",))[0]
    fields = {
        "classes": dict(labels=jnp.asarray(RNG.integers(0, CLASSES, ROWS))),
        "values": dict(values=jnp.asarray(RNG.normal(size=(ROWS, CLASSES)))),
        "labels": dict(labels=jnp.asarray(RNG.integers(0, 2, (ROWS, CLASSES)))),
    }
    return Target(kind, num_outputs=CLASSES, **fields[kind])


def test_some_are():
    assert {"cross_entropy", "mse", "binary_cross_entropy"} <= set(ROWWISE) and "cox" not in ROWWISE


@pytest.mark.parametrize("loss", ROWWISE)
def test_batches_add_up_to_the_whole(loss):
    call, held = zoo.get("loss", loss), target(loss)
    prediction = jnp.asarray(RNG.normal(size=(ROWS, CLASSES)))
    streams = jnp.asarray(RNG.normal(size=(ROWS, MODALITIES, CLASSES)))
    mask = jnp.asarray(RNG.random((ROWS, MODALITIES)) < 0.7)
    uncertainty = jnp.asarray(RNG.random(ROWS))
    weight = jnp.asarray(np.where(RNG.random(ROWS) < 0.7, RNG.uniform(0.5, 2, ROWS), 0))

    def of(rows):
        said = Output(prediction[rows], streams[rows], None, None, mask[rows], uncertainty=uncertainty[rows])
        own = jax.tree.map(lambda a: a[rows], held)
        return call(said, own, weight[rows], context=Context(step=jnp.asarray(3)))

    parts = [jnp.arange(0, 5), jnp.arange(5, 10), jnp.arange(10, 12)]
    together = sum(of(rows) * weight[rows].sum() for rows in parts) / weight.sum()
    np.testing.assert_allclose(together, of(jnp.arange(ROWS)), rtol=1e-10)
    assert abs(float(together)) > 1e-3
