"""Every rule of splitting gives what it says, the same for the same seed."""

import numpy as np
import pytest

from fusion_jax.data import splits

LABELS = np.repeat(np.arange(4), [10, 20, 30, 40])
RULES = {
    "per_class": splits.per_class(LABELS, 2, 3),
    "fractions": splits.fractions(LABELS, 0.5, 0.2),
    "fixed_test": splits.fixed_test(LABELS, np.arange(0, 100, 2), np.arange(1, 100, 2), 0.2),
}


@pytest.mark.parametrize("name", RULES)
def test_parts_are_disjoint_cover_all_and_depend_on_the_seed_alone(name):
    a, again, b = (RULES[name].draw(seed) for seed in (1, 1, 2))
    parts = a.train, a.val, a.test
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(100))
    assert all(np.all(np.diff(p) > 0) for p in parts)
    assert all(np.array_equal(x, y) for x, y in zip(parts, (again.train, again.val, again.test), strict=True))
    assert not np.array_equal(a.train, b.train)


def counts(rows):
    return np.bincount(LABELS[rows], minlength=4).tolist()


def test_shares():
    s = RULES["per_class"].draw(0)
    assert (counts(s.train), counts(s.val), counts(s.test)) == ([2] * 4, [3] * 4, [5, 15, 25, 35])
    s = RULES["fractions"].draw(0)
    assert (counts(s.train), counts(s.val), counts(s.test)) == ([5, 10, 15, 20], [2, 4, 6, 8], [3, 6, 9, 12])
    s = RULES["fixed_test"].draw(0)
    assert (counts(s.train), counts(s.val)) == ([4, 8, 12, 16], [1, 2, 3, 4])
    assert s.test.tolist() == list(range(1, 100, 2))


def test_fixed_is_one_split_for_all_seeds_in_order():
    rule = splits.fixed([3, 1], [0], [2], "given")
    assert rule.fixed and rule.draw(0) is rule.draw(5) and rule.draw(0).train.tolist() == [1, 3]


def test_a_class_of_too_few_rows():
    with pytest.raises(ValueError, match="class 0 has 10 rows, expected at least 11"):
        splits.per_class(LABELS, 5, 5).draw(0)


@pytest.mark.parametrize("train", [1, 3])
def test_by_default_no_class_has_more_validation_than_training_labels(train):
    s = splits.per_class(LABELS, train).draw(0)
    assert counts(s.val) == counts(s.train) == [train] * 4
