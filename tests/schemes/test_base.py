"""The contract of schemes and stages: what changes nothing, and what is refused."""

import jax
import jax.numpy as jnp
import pytest

from fusion_jax.records import Batch, Context, Target
from fusion_jax.schemes.base import Scheme, Stage


def test_the_scheme_itself_changes_nothing():
    (stage,) = Scheme().stages(7)
    assert stage.epochs == 7 and stage.loss is None and stage.remember is None and stage.begin is None
    assert stage.trains == stage.freezes == stage.snapshots == ()
    batch = Batch({"m0": jnp.ones((3, 2))}, jnp.ones((3, 1), bool), None)
    assert stage.transform(batch, jax.random.key(0)) is batch

    def model(batch, context):
        return (batch, context)

    context = Context(total=7)
    assert stage.forward(model, batch, context=context) == (batch, context)
    assert Scheme().build(lambda dims, key: (dims, key), {"a": 1}, Target("classes"), 2) == ({"a": 1}, 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(epochs=-1), "epochs=-1, expected at least 0"),
        (dict(epochs=3, start="first"), "start='first', expected 'best' or 'last'"),
        (dict(epochs=3, keep="all"), "keep='all', expected 'best' or 'last'"),
        (dict(epochs=3, snapshots=(0, 4, -1)), r"snapshots=\[4, -1\], expected numbers from 0 to its 3 epochs"),
    ],
)
def test_a_field_out_of_range_is_refused(fields, message):
    with pytest.raises(ValueError, match=f"stage: {message}"):
        Stage(**fields)


def test_a_stage_without_epochs_can_be_kept():
    assert Stage(0, snapshots=(0,)).epochs == 0
