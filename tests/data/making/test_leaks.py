"""A column that is the label, or codes it, is named; features of usual strength, and of noise, are not."""

import numpy as np
import pytest
import scipy.sparse as sp

from fusion_jax.data.making.leaks import look, tells_classes, tells_values
from fusion_jax.data.making.report import Conversion
from fusion_jax.records import Target

N = 90
RNG = np.random.default_rng(0)
Y = RNG.permutation(np.arange(N) % 3)
NOISE = RNG.normal(size=(N, 1))


def warned(x, y=Y, kind="classes", train=None):
    fields = dict(labels=y, num_outputs=3) if kind == "classes" else dict(values=y[:, None], num_outputs=1)
    report, here = Conversion("t"), np.arange(N) if train is None else train
    names = [f"c{i}" for i in range(x.shape[1])]
    look({"genes": x}, np.ones((N, 1), bool), Target(kind, **fields), here, {"genes": names}, report)
    return report


@pytest.mark.parametrize(
    "leak",
    [
        Y,
        (Y + 1) % 3 * 10.0,  # another coding
        np.array([3, 1, 7])[Y] + 10 * (np.arange(N) % 2),  # two codes a class, in no order
        Y + 0.3 * RNG.uniform(-1, 1, N),  # with noise that mixes no two classes
        Y == 1,  # what a column a class would hold
        np.where(Y == 2, np.nan, NOISE[:, 0]),  # never measured in one class
    ],
)
def test_a_column_that_tells_the_class_is_named(leak):
    both = np.concatenate([NOISE, leak[:, None]], 1).astype(np.float32)
    report = warned(both)
    assert report.facts["telling"] == {"genes": ["c1"]} and "column 'c1' alone tells" in report.warnings[0]
    assert np.isnan(both).any() or warned(sp.csr_matrix(both)).facts["telling"] == {"genes": ["c1"]}


def test_of_two_classes_nearly_all_is_enough_and_few_rows_are_not():
    y = np.arange(N) % 2
    x = y + 0.4 * RNG.uniform(-1, 1, N)
    x[0] = 0.61  # one row of the lower class above the lowest of the upper
    assert tells_classes(x[:, None], y, 1).all()
    assert not tells_classes((y + RNG.normal(size=N))[:, None], y, 1).any()
    assert not tells_classes(y[:19, None], y[:19], 1).any()
    lone = (np.arange(N) == 3).astype(int)
    assert not tells_classes(lone[:, None], lone, 20).any(), "a class of one row, which some column singles out"


def test_values_that_grow_with_a_column_are_named_in_any_unit():
    y = RNG.normal(size=N)
    x = np.stack([y * 3 + 1, np.exp(y), y + RNG.normal(size=N), NOISE[:, 0]], 1)
    assert tells_values(x, y, 4).tolist() == [True, True, False, False]
    assert warned(x, y, "values").facts["telling"] == {"genes": ["c0", "c1"]}


def test_rows_outside_training_have_no_say():
    x = np.where(np.arange(N) < 60, Y, 5)[:, None].astype(np.float32)
    assert warned(x, train=np.arange(60)).warnings and not warned(x).warnings


def test_noise_of_many_columns_is_accused_of_nothing():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = np.concatenate([rng.normal(size=(N, 300)), rng.integers(0, 2, (N, 300))], 1)
        assert not warned(x).warnings and not warned(x, train=np.arange(25)).warnings


def test_a_column_far_to_the_right_of_many_rows_is_named_by_its_own_name():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 1200)
    x = rng.normal(size=(1200, 1005)).astype(np.float32)
    x[:, 1003] = y
    names, report = [f"c{i}" for i in range(1005)], Conversion("t")
    target = Target("classes", labels=y, num_outputs=3)
    look({"genes": x}, np.ones((1200, 1), bool), target, np.arange(1200), {"genes": names}, report)
    assert report.facts["telling"] == {"genes": ["c1003"]} and "all of 1,000 training rows" in report.warnings[0]


def test_nodes_that_lack_the_modality_have_no_say():
    here, report = np.arange(N) % 2 == 0, Conversion("t")
    x = np.where(here, Y, 0)[:, None].astype(np.float32)
    target = Target("classes", labels=Y, num_outputs=3)
    look({"genes": x}, here[:, None], target, np.arange(N), {"genes": ["c0"]}, report)
    assert report.facts["telling"] == {"genes": ["c0"]}


def test_of_two_classes_a_column_may_fall_as_well_as_rise():
    y = np.arange(N) % 2
    x = y + 0.4 * RNG.uniform(-1, 1, N)
    x[0] = 0.61
    assert tells_classes(-x[:, None], y, 1).all()


def test_a_number_that_a_handful_of_rows_share_codes_no_classes():
    group = np.arange(N) // 3
    assert not tells_classes(group[:, None].astype(float), (group * 7 + group // 3) % 3, 1).any()
