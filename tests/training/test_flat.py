"""Parameters as vectors: the same trees, gradients and steps of an optimiser as leaf by leaf."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fusion_jax.training import optimizers
from fusion_jax.training.flat import Flat, flat, flat_on_host, on_trees, stacked, tree_on_host

TREE = {
    "b": {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "z": np.complex64([1 + 2j, 3 - 1j])},
    "a": [np.float32(7.0), np.zeros((0, 4), np.float32), np.float32([[8, 9]])],
}


def alike(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype and np.shape(a) == np.shape(b)
        np.testing.assert_array_equal(a, b)


def test_a_tree_comes_back_in_its_shapes_and_dtypes():
    held = flat(TREE)
    assert {k: v.shape for k, v in held.vectors.items()} == {"float32": (9,), "complex64": (2,)}
    alike(held.tree, TREE)
    alike(jax.jit(lambda x: x)(held).tree, TREE)


def test_seeds_are_an_axis_in_front():
    other = jax.tree.map(lambda x: x + 1, TREE)
    held = stacked([flat_on_host(TREE), flat_on_host(other)])
    assert held.vectors["float32"].shape == (2, 9)
    alike(held.tree, stacked([TREE, other]))
    alike(jax.tree.map(lambda x: x[1], held).tree, other)
    alike(jax.vmap(lambda one: one.tree)(held), stacked([TREE, other]))


def test_the_host_cuts_and_joins_as_a_program_does():
    alike(flat_on_host(TREE), flat(TREE))
    alike(tree_on_host({"x": (flat(TREE), np.float32(1))}), {"x": (TREE, np.float32(1))})
    alike(tree_on_host(stacked([flat(TREE)] * 2)), stacked([TREE] * 2))


def test_nothing_is_a_tree_too():
    held = flat({})
    assert held.tree == {} and jax.tree.leaves(held) == []


def test_a_gradient_is_that_of_the_tree_by_one_concatenation():
    tree = {"w": jnp.float32([[1, 2], [3, 4]]), "b": jnp.float32([0.5, -1])}

    def loss(tree):
        return (jnp.tanh(tree["w"] @ tree["b"]) ** 2).sum()

    def of_vectors(held):
        return loss(held.tree)

    held = flat(tree)
    found = jax.grad(of_vectors)(held)
    assert isinstance(found, Flat)
    alike(found.tree, jax.grad(loss)(tree))
    text = jax.jit(jax.grad(of_vectors)).lower(held).as_text()
    assert "concatenate" in text and "stablehlo.pad" not in text


GRADIENTS = [
    {"w": jnp.float32([[1, -2], [3, 0.1]]), "b": jnp.float32([0.5, -1])},
    {"w": jnp.float32([[0.2, 1], [-3, 5]]), "b": jnp.float32([2, 0])},
]


def steps(tx, wrap):
    """The parameters after two steps."""
    params = wrap({"w": jnp.float32([[1, 2], [3, 4]]), "b": jnp.float32([0.5, -1])})
    state = tx.init(params)
    for gradient in GRADIENTS:
        updates, state = tx.update(wrap(gradient), state, params)
        params = optax.apply_updates(params, updates)
    return params


def made(name, **options):
    return optimizers.make(name, 0.1, epochs=2, **options)


NAMES = [*optimizers.ELEMENTWISE, "lamb", "lars", "fromage", "novograd", "adafactor"]


@pytest.mark.parametrize("name", NAMES)
def test_an_optimiser_does_to_vectors_what_it_does_to_leaves(name):
    plain, vectors = steps(getattr(optax, name)(0.1), lambda tree: tree), steps(made(name), flat)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(vectors.tree), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_what_looks_at_leaves_is_shown_leaves():
    """The norm of a layer is not that of the model: as vectors, LAMB takes another step."""
    plain = steps(optax.lamb(0.1), lambda tree: tree)
    assert not np.allclose(steps(optax.lamb(0.1), flat).tree["b"], plain["b"])
    np.testing.assert_allclose(steps(on_trees(optax.lamb(0.1)), flat).tree["b"], plain["b"], rtol=1e-6)
    alike(steps(on_trees(optax.lamb(0.1)), lambda tree: tree), plain)


def test_clipping_and_rates_of_parts_are_as_of_leaves():
    options = dict(clip=1.0, part_rates={"b": 3.0})
    plain, vectors = steps(made("adam", **options), lambda tree: tree), steps(made("adam", **options), flat).tree
    for name in plain:
        np.testing.assert_allclose(plain[name], vectors[name], rtol=1e-6)
    assert not np.allclose(plain["b"], steps(made("adam", clip=1.0), flat).tree["b"])
