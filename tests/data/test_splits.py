"""Every rule of splitting gives what it says, the same for the same seed."""

import pickle
import re

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


def test_masks_over_the_rows_are_row_numbers():
    train, val, test = (np.isin(np.arange(100) % 5, part) for part in ([0, 1, 2], [3], [4]))
    split = splits.fixed(train, val, test, "masks").draw(0)
    assert all(
        np.array_equal(rows, np.flatnonzero(mask))
        for rows, mask in ((split.train, train), (split.val, val), (split.test, test))
    )
    of_masks, of_rows = (
        splits.fixed_test(LABELS, *parts, 0.2).draw(1)
        for parts in ((train | val, test), (np.flatnonzero(train | val), np.flatnonzero(test)))
    )
    assert np.array_equal(of_masks.val, of_rows.val) and np.array_equal(of_masks.test, np.flatnonzero(test))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda y: splits.fixed([0.5], [1], [2], ""), "splits.fixed: train: float64; expected row numbers"),
        (lambda y: splits.fixed([True, False], [1], [0], ""), "train holds bool; expected row numbers"),
        (lambda y: splits.fixed([True], [False, True], [False], ""), "val: a mask of 2 rows; expected 1"),
        (lambda y: splits.fixed([0, 1, 0], [1, 0, 0], [0, 0, 1], ""), "only 0 and 1; expected row numbers, or masks"),
        (lambda y: splits.fixed([[0], [1]], [2], [3], ""), "train: shape (2, 1); expected a vector"),
        (lambda y: splits.fixed_test(y > 0, [0, 200], [1], 0.5), "train holds rows outside [0, 100)"),
        (lambda y: splits.fixed_test(y > 0, y[1:] > 9, y[1:] < 9, 0.5), "a mask of 99 rows; expected 100"),
        (lambda y: splits.fixed_test(y > 0, [0, 2], [1], 1.0), "val_fraction=1.0; expected a share in (0, 1)"),
        (lambda y: splits.fractions(y, 0.5, 0.2), "labels are continuous (row 0 holds 0.125, 100 different values"),
        (lambda y: splits.per_class(y, 2, 2), "splits.per_class: labels are continuous"),
        (lambda y: splits.fixed_test(y, [0], [1], 0.2), "splits.fixed_test: labels are continuous"),
        (lambda y: splits.fractions(np.where(y > 9, np.nan, 1.0), 0.5, 0.2), "labels are continuous (row 9 holds nan"),
        (lambda y: splits.fractions(np.where(y > 9, np.nan, 1.0), 0.5, 0.2), "expected a class in every row"),
        (lambda y: splits.fractions(np.eye(3), 0.5, 0.2), "labels have shape (3, 3); expected one class a row"),
        (lambda y: splits.fractions(y > 0, 0.8, 0.2), "train + val=1.0; expected a share in (0, 1)"),
        (lambda y: splits.fractions(y > 0, float("nan"), 0.2), "train=nan; expected a share in (0, 1)"),
        (lambda y: splits.per_class(y > 9, 0, 2), "train=0; expected a number of rows, at least 1"),
        (
            lambda y: splits.fractions(np.arange(100), 0.5, 0.2).draw(0),
            "the train part is empty: 100 rows in 100 classes of at most 1 rows, shares 0.5 and 0.2; expected more",
        ),
    ],
)
def test_what_no_rule_can_draw_from_is_refused_with_the_reason(make, message):
    with pytest.raises(ValueError) as error:
        make(np.arange(100) + 0.125)
    assert message in str(error.value)


def test_values_are_split_without_classes_and_columns_with():
    assert len(splits.fractions(np.arange(100) + 0.5, 0.5, 0.2, stratify=False).draw(0).test) == 30
    assert np.array_equal(splits.fractions(LABELS[:, None], 0.5, 0.2).draw(0).train, RULES["fractions"].draw(0).train)


def test_splits_among_some_rows_leave_the_others_out():
    rows = np.array([1, 3, 4, 7, 8, 9, 11, 12, 15, 19])
    labels = np.arange(10) % 2
    inner = splits.fractions(labels, 0.6, 0.2)
    made = splits.among(rows, inner, 20)
    assert (made.rows, made.rule, made.fixed) == (20, inner.rule, False)
    for seed in range(3):
        for part, wanted in vars(inner.draw(seed)).items():
            np.testing.assert_array_equal(getattr(made.draw(seed), part), rows[wanted])
    assert pickle.loads(pickle.dumps(made)).draw(1).train.tolist() == made.draw(1).train.tolist()


def test_whole_groups_keeps_the_rows_of_a_group_together_and_leaves_out_those_below_0():
    group = np.array([3, 0, 1, -1, 2, 0, 3, 4, -1, 1])
    split = splits.whole_groups(group, 0.4, 0.2).draw(3)
    parts = [set(group[rows]) for rows in (split.train, split.val, split.test)]
    assert [len(part) for part in parts] == [2, 1, 2] and set.union(*parts) == {0, 1, 2, 3, 4}
    assert sorted(np.concatenate([split.train, split.val, split.test])) == [0, 1, 2, 4, 5, 6, 7, 9]


def test_groups_validate_whole_and_test_rows_stay():
    group = np.repeat(np.arange(10), np.arange(1, 11))
    test = np.flatnonzero(group % 5 == 0)
    train = np.flatnonzero(group % 5)
    rule = splits.fixed_test_groups(group, train, test, 0.25, called="videos")
    a, again, b = (rule.draw(seed) for seed in (1, 1, 2))
    assert np.array_equal(a.test, test) and np.array_equal(b.test, test) and np.array_equal(a.val, again.val)
    assert len(np.unique(group[a.val])) == 2 and not set(group[a.val]) & set(group[a.train])
    assert np.array_equal(np.sort(np.concatenate([a.train, a.val, a.test])), np.arange(55))
    assert not np.array_equal(a.val, b.val) and not rule.fixed and "25% of the training videos" in rule.rule
    for share in (0.01, 0.99):  # one group at least on either side
        s = splits.fixed_test_groups(group, train, test, share).draw(0)
        assert sorted((len(np.unique(group[s.val])), len(np.unique(group[s.train])))) == [1, 7]
    pickle.loads(pickle.dumps(rule)).draw(3)


@pytest.mark.parametrize(
    ("train", "test", "share", "message"),
    [
        ([0, 1], [2, 3], 0.5, "group 1 has training and test rows; expected every group on one side"),
        ([0, 9], [3], 0.5, "train holds rows outside [0, 4), the number of rows"),
        ([1, 2], [3], 0.5, "1 groups train; expected at least 2"),
        ([0, 1], [3], 1.0, "val_fraction=1.0; expected a share in (0, 1)"),
    ],
)
def test_groups_that_cannot_validate(train, test, share, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        splits.fixed_test_groups(np.array([0, 1, 1, 2]), train, test, share)


def test_only_shares_drawn_of_all_rows_have_validation_rows_like_test_rows():
    group = np.repeat(np.arange(20), 5)
    alike = splits.fractions(LABELS, 0.5, 0.2), splits.among(np.arange(100), RULES["fractions"], 120)
    others = RULES["per_class"], RULES["fixed_test"], splits.whole_groups(group, 0.5, 0.2)
    assert [s.exchangeable for s in (*alike, *others)] == [True, True, False, False, False]
    fixed = splits.fixed(np.arange(50), np.arange(50, 70), np.arange(70, 100), "published")
    assert not fixed.exchangeable and not splits.among(np.arange(100), RULES["per_class"], 120).exchangeable
