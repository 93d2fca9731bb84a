"""Triplet loss: which nodes it looks at, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.losses.triplet import margin_loss, triplet
from fusion_jax.records import EVALUATION, Context, Output, Target

LABELS = np.array([0, 1, 2, 0, 1, 0, 1, 0, 2])
Z = np.random.default_rng(0).normal(size=(9, 4))


def output(z=Z):
    z = jnp.asarray(z)
    return Output(jnp.zeros((9, 3)), None, z[:, None], z, jnp.ones((9, 1), bool))


def target(labels=LABELS, **changes):
    return Target(**dict(kind="classes", labels=jnp.asarray(labels), num_outputs=3) | changes)


def test_it_pulls_a_class_together():
    """Far clusters have loss 0; the same states with labels mixed have not."""
    apart = 10 * np.eye(3)[LABELS]
    weight = jnp.ones(9)
    assert triplet(output(apart), target(), weight, context=EVALUATION) == 0
    assert triplet(output(apart), target(np.roll(LABELS, 1)), weight, context=EVALUATION) > 0.5
    assert triplet(output(np.zeros((9, 4))), target(), weight, context=EVALUATION, margin=0.3) == pytest.approx(0.3)


def test_nodes_without_weight_have_no_influence():
    weight = jnp.asarray([1.0, 1, 1, 1, 1, 1, 0, 0, 1])
    other, z = LABELS.copy(), Z.copy()
    other[6:8], z[6:8] = 2, 9.0

    def run(z, labels):
        return jax.value_and_grad(lambda z: triplet(output(z), target(labels), weight, context=EVALUATION))(
            jnp.asarray(z)
        )

    value, grad = run(Z, LABELS)
    again, _ = run(z, other)
    assert value == again and not np.asarray(grad)[6:8].any() and np.asarray(grad)[:6].any()


def test_classes_of_one_node_alone_give_nothing():
    assert triplet(output(), target(), jnp.asarray([1.0, 1, 1] + [0] * 6), context=EVALUATION) == 0


def test_the_partners_turn_with_the_step():
    values = {float(triplet(output(), target(), jnp.ones(9), context=Context(step=s))) for s in range(3)}
    assert len(values) == 3


def test_weights_average():
    """The mean over the rows that count, whatever the others hold."""
    a, p, n = (jnp.asarray(np.random.default_rng(s).normal(size=(3, 4))) for s in range(3))
    each = [float(margin_loss(a[i : i + 1], p[i : i + 1], n[i : i + 1], jnp.ones(1))) for i in range(2)]
    assert float(margin_loss(a, p, n, jnp.asarray([1.0, 1.0, 0.0]))) == pytest.approx(np.mean(each))


def test_refusals():
    with pytest.raises(ValueError, match="triplet.*values"):
        triplet(output(), Target("values", values=jnp.zeros((9, 1))), jnp.ones(9), context=EVALUATION)
    with pytest.raises(ValueError, match="triplet.*decision"):
        bare = output()
        triplet(
            Output(bare.prediction, None, bare.embeddings, None, bare.mask), target(), jnp.ones(9), context=EVALUATION
        )
