"""The words of an alignment: parameters read, written, moved; and who has a say."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.encoders.base import Encoder
from fusion_jax.encoders.linear import Linear
from fusion_jax.encoders.mlp import Mlp
from fusion_jax.fusion.base import Fusion
from fusion_jax.fusion.gmu import GMU
from fusion_jax.fusion.hierarchical_perceiver import HierarchicalPerceiver
from fusion_jax.layers.base import GraphLayer
from fusion_jax.nn.alignment import (
    States,
    change_units,
    concatenated,
    follow,
    name_of,
    no_rule,
    overriding,
    put,
    read,
    write,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def linear(i, o):
    return nnx.Linear(i, o, rngs=nnx.Rngs(0), param_dtype=jnp.float32)


def test_what_is_read_is_written_back_in_the_layers_own_dtype(rng):
    layer, other = linear(3, 2), nnx.LayerNorm(4, rngs=nnx.Rngs(0))
    held = read(layer)
    assert set(held) == {"kernel", "bias"} and all(v.dtype == np.float64 for v in held.values())
    assert set(read(other)) == {"scale", "bias"} and set(read(nnx.Linear(2, 2, use_bias=False, rngs=nnx.Rngs(0)))) == {
        "kernel"
    }
    new = {n: rng.normal(size=v.shape) for n, v in held.items()}
    write(layer, new)
    assert layer.kernel[...].dtype == jnp.float32
    for name, value in new.items():
        np.testing.assert_allclose(read(layer)[name], value, rtol=1e-6)


def test_a_vector_follows_a_map_in_its_own_shape(rng):
    variable, t = nnx.Param(jnp.asarray(rng.normal(size=(2, 3)))), rng.normal(size=(6, 6))
    before = np.asarray(variable[...])
    follow(variable, t)
    np.testing.assert_allclose(variable[...], (before.reshape(-1) @ t).reshape(2, 3), rtol=1e-12)
    put(variable, np.arange(6.0))
    np.testing.assert_array_equal(variable[...], np.arange(6.0).reshape(2, 3))


def test_a_layer_in_other_units_is_the_same_function(rng):
    layer, factor, offset = linear(3, 2), rng.random(3) + 0.5, rng.normal(size=3)
    x = rng.normal(size=(5, 3))
    expected = np.asarray(layer(jnp.asarray(factor * x + offset, jnp.float32)))
    change_units(layer, jnp.asarray(factor, jnp.float32), jnp.asarray(offset, jnp.float32))
    np.testing.assert_allclose(layer(jnp.asarray(x, jnp.float32)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoder", [Linear, Mlp])
def test_so_is_an_encoder(rng, encoder):
    encoder, factor, offset = encoder(3, 2, rngs=nnx.Rngs(0)), rng.random(3) + 0.5, rng.normal(size=3)
    x = rng.normal(size=(5, 3))
    expected = np.asarray(encoder(jnp.asarray(factor * x + offset, jnp.float32)))
    encoder.in_units_of(jnp.asarray(factor, jnp.float32), jnp.asarray(offset, jnp.float32))
    np.testing.assert_allclose(encoder(jnp.asarray(x, jnp.float32)), expected, rtol=1e-5, atol=1e-6)


def test_missing_modalities_are_zero_in_a_concatenation(rng):
    x = jnp.asarray(rng.normal(size=(2, 2, 3))).at[0, 1].set(jnp.nan)
    mask = jnp.array([[True, False], [True, True]])
    found, same = concatenated(States((x, x), (x, x), mask, np.asarray(mask), None))
    np.testing.assert_array_equal(found[0], [*x[0, 0], 0, 0, 0])
    np.testing.assert_array_equal(found[1], x[1].reshape(-1))
    np.testing.assert_array_equal(found, same)


def test_those_that_have_a_say_are_found_by_walking():
    assert set(overriding("fusion", Fusion, "align")) >= {"concat_mlp", "mean", "node_token"}
    assert "gmu" not in overriding("fusion", Fusion, "align")
    layers = overriding("layer", GraphLayer, "align")
    assert set(layers) >= {"gat", "gcn", "gin", "none", "sage"} and layers == sorted(layers)
    assert not {"sgc", "neighborhood_attention"} & set(layers)


def test_a_mechanism_is_named_by_its_file_or_package():
    assert name_of(GMU(2, 4, rngs=nnx.Rngs(0))) == "gmu"
    assert name_of(object.__new__(HierarchicalPerceiver)) == "hierarchical_perceiver"


class Rule:
    name = "some_rule"


def test_one_that_has_none_is_refused_by_name():
    fusion = GMU(2, 4, rngs=nnx.Rngs(0))
    with pytest.raises(
        ValueError, match="some_rule has no rule for the fusion 'gmu'; it knows: concat_linear, concat_"
    ):
        fusion.align(fusion, Rule(), [], None)
    known = ", ".join(overriding("layer", GraphLayer, "align"))
    assert f"for the layer 'gmu'; it knows: {known}" in str(no_rule(Rule(), "layer", GraphLayer, fusion))


class Own(Encoder):
    """An encoder that does not say how it takes other units."""


def test_an_encoder_that_cannot_take_other_units_names_those_that_can():
    with pytest.raises(ValueError, match="can be merged with the encoders 'linear' and 'mlp', not 'Own'; train with"):
        Own().in_units_of(jnp.ones(2), jnp.zeros(2))
