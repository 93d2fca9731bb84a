"""FSATFusion as a fusion: how modalities enter, and its two forms of attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.fsatfusion import FSATFusion
from fusion_jax.graphs import Graph
from fusion_jax.structures.base import derive
from tests.helpers import drawn, run, shown, to_float64

N, M, D = 7, 2, 8


def made(modalities=M, **options):
    return FSATFusion(modalities, D, **{"heads": 2, "frequencies": 4, **options}, rngs=nnx.Rngs(0))


def net(**options):
    return drawn(lambda: made(**options))


def graph(fusion):
    """A path of four nodes; an edge and an isolated node."""
    return derive([Graph.create([0, 1, 2, 4], [1, 2, 3, 5], np.array([4, 3]))], fusion.structures)[0]


def features(modalities=M):
    return np.random.default_rng(0).normal(size=(N, modalities, D))


def test_the_mask_enters_beside_the_features():
    """A missing modality is not one of zeros."""
    fusion, x, mask = net(), features(), np.ones((N, M), bool)
    x[1, 1], less = 0, mask.copy()
    less[1, 1] = False
    one, two = (np.asarray(run(fusion, x, m, graph(fusion)).out) for m in (mask, less))
    assert np.abs(one - two)[1].max() > 1e-3


def test_both_windows():
    """Without edges to attend along there are no weights; with them a node sees its senders and itself."""
    fusion, x, mask = net(), features(), np.ones((N, M), bool)
    mask[1] = False
    fused, looped = run(fusion, x, mask, graph(fusion)), graph(fusion).looped
    weights = shown(fused, "attention")  # [E', blocks, H]
    assert weights.shape == (looped.num_edges, 2, 2) and shown(fused, "gates").shape == (2, 2, D)
    sums = np.zeros((N, 2, 2))
    np.add.at(sums, np.asarray(looped.receivers), weights)
    np.testing.assert_allclose(sums, np.ones((N, 2, 2)), rtol=1e-12)
    assert not weights[np.asarray(looped.senders) == 1].any()
    alone = net(window="self")
    assert [a.name for a in run(alone, x, mask, graph(alone)).attention] == ["gates"]


def test_who_is_reached():
    """By the mean over the nodes of a graph."""
    fusion, mask = net(), np.zeros((N, M), bool)
    mask[2, 0] = True
    assert np.flatnonzero(run(fusion, mask, graph(fusion), by=FSATFusion.reached)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("modalities", [1, 6])
def test_any_number_of_modalities_and_other_options(modalities):
    def make():
        return made(modalities, second_ring="repeated", coefficients="mean", frequencies=(0, 3), blocks=1)

    fusion = nnx.eval_shape(make)
    assert [str(s) for s in fusion.structures] == ["eigenvectors(k=4)"]
    mask, held = jnp.ones((N, modalities), bool), graph(fusion)
    out = np.asarray(jax.jit(lambda x: to_float64(make())(x, mask, held).out)(features(modalities)))
    assert out.shape == (N, D) and (out >= 0).all() and out.max() > 0.1


@pytest.mark.parametrize(("options", "words"), [({"heads": 3}, "heads=3"), ({"blocks": 0}, "blocks=0")])
def test_refusals(options, words):
    with pytest.raises(ValueError, match=f"fusion 'fsatfusion': {words}"):
        nnx.eval_shape(lambda: made(**options))
