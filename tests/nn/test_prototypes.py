"""Class means, cosines and episodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.nn.prototypes import class_means, cosine, episode, unit
from tests.nn.reference import close, derivatives, normal

LABELS = np.array([0, 1, 1, 2, 0, 1, 1, 0, 2, 1])
VALID = np.array([True] * 7 + [False, True, True])
X = normal(10, 2, 3)


def test_means_of_the_valid_rows_of_each_class():
    x = np.asarray(X)
    hidden = jnp.where(VALID[:, None, None], X, jnp.nan)
    expected = [x[VALID & (LABELS == c)].mean(0) if c < 3 else np.zeros((2, 3)) for c in range(4)]
    close(class_means(hidden, jnp.asarray(LABELS), jnp.asarray(VALID), 4), np.stack(expected))
    derivatives(lambda x: class_means(x, jnp.asarray(LABELS), jnp.asarray(VALID), 4), X)


def test_cosines_are_those_of_the_angles_and_0_of_the_vector_0():
    x, w = normal(4, 3).at[2].set(0.0), normal(5, 3, seed=1).at[1].set(0.0)
    length = [np.linalg.norm(a, axis=1) for a in (x, w)]
    expected = np.asarray(x) @ np.asarray(w).T / np.where(np.outer(*length) > 0, np.outer(*length), 1)
    close(cosine(x, w), expected)
    assert not np.asarray(unit(x))[2].any()
    close(np.linalg.norm(np.asarray(unit(1e-100 * x)), axis=1), np.array([1.0, 1, 0, 1]))
    d = jax.grad(lambda x, w: cosine(x, w).sum(), (0, 1))(x, w)
    assert all(np.isfinite(g).all() for g in d) and not d[0][2].any() and not d[1][1].any() and d[0][0].any()
    derivatives(cosine, x[:2], w[2:])


@pytest.mark.parametrize("ways", [None, 1, 2])
@pytest.mark.parametrize(("shots", "queries"), [(2, 1), (1, 2), (4, 1)])
def test_an_episode_draws_rows_of_its_classes_each_once(ways, shots, queries):
    seen = set()
    for seed in range(12):
        e = episode(
            jnp.asarray(np.where(VALID, LABELS, -1)),
            jnp.asarray(VALID),
            3,
            jax.random.key(seed),
            shots=shots,
            queries=queries,
            ways=ways,
        )
        rows, query, support = (np.asarray(a) for a in (e.rows, e.query, e.support))
        assert rows.shape == query.shape == support.shape == (3, queries + shots) and not (query & support).any()
        counts = np.bincount(LABELS[VALID], minlength=3)  # 2, 5, 2
        able = counts > queries
        assert np.asarray(e.chosen).sum() == min(able.sum(), 3 if ways is None else ways) and able[e.chosen].all()
        for c in range(3):
            used = query[c] | support[c]
            assert (
                len(set(rows[c, used])) == used.sum()
                and (LABELS[rows[c, used]] == c).all()
                and VALID[rows[c, used]].all()
            )
            assert query[c].sum() == (queries if e.chosen[c] else 0)
            assert support[c].sum() == (min(shots, counts[c] - queries) if e.chosen[c] else 0)
        seen.add((rows[query].tobytes(), np.asarray(e.chosen).tobytes()))
    assert len(seen) > 4, "another key, other rows and classes"


def test_a_class_without_rows_to_average_is_not_chosen():
    e = episode(jnp.asarray([0, 0, 1]), jnp.ones(3, bool), 3, jax.random.key(0), shots=1)
    assert e.chosen.tolist() == [True, False, False]
    assert not np.asarray(e.query)[1:].any() and not np.asarray(e.support)[1:].any()


def test_every_class_and_every_row_is_drawn_alike():
    labels = jnp.asarray(np.repeat([0, 1, 2], 4))
    draw = jax.vmap(lambda key: episode(labels, jnp.ones(12, bool), 3, key, shots=2, ways=1))
    e = draw(jax.random.split(jax.random.key(0), 3000))
    share = np.asarray(e.chosen).mean(0)
    assert np.abs(share - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 3000)
    first = np.bincount(np.asarray(e.rows)[:, :, 0].ravel(), minlength=12) / 3000
    assert np.abs(first - 1 / 4).max() < 5 * np.sqrt(3 / 16 / 3000)
