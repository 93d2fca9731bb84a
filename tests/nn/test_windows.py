"""Windows: their masks by search, and the edge lists and tables made of them."""

import itertools

import numpy as np
import pytest

from fusion_jax.nn.windows import axis_window, window_edges, window_mask, window_table


def by_search(n, kernel, dilation=1, stride=1, causal=False):
    """Query by query: the kernel keys of its group that are nearest its leader, shifted at the borders."""
    mask = np.zeros((n, n), bool)
    for i in range(n):
        group = [j for j in range(n) if j % dilation == i % dilation]
        place, length = group.index(i), len(group)
        block = place // stride * stride
        if causal:
            leader = min(block + stride - 1, length - 1)
            seen = [j for j in range(length) if j <= place and leader - j < kernel]
        else:
            leader = min(block + stride // 2, length - 1)
            start = min(max(leader - kernel // 2, 0), length - kernel)
            seen = range(start, start + kernel)
        mask[i, [group[j] for j in seen]] = True
    return mask


CASES = [
    (9, 3, 1, 1),
    (9, 4, 1, 1),
    (10, 3, 2, 1),
    (11, 3, 3, 2),
    (8, 4, 2, 3),
    (5, 5, 1, 1),
    (7, 1, 1, 1),
    (9, 4, 1, 4),
]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("n", "kernel", "dilation", "stride"), CASES)
def test_one_axis(n, kernel, dilation, stride, causal):
    mask = axis_window(n, kernel, dilation, stride, causal)
    np.testing.assert_array_equal(mask, by_search(n, kernel, dilation, stride, causal))
    assert causal or (mask.sum(1) == kernel).all()


def test_without_options_it_is_a_plain_window():
    np.testing.assert_array_equal(axis_window(6, 3), by_search(6, 3))
    np.testing.assert_array_equal(window_mask((6,), 3), by_search(6, 3))


def test_a_grid_is_the_and_of_its_axes():
    shape = (4, 5)
    mask = window_mask(shape, (3, 2), (1, 2), (2, 1), (False, True))
    rows, columns = by_search(4, 3, 1, 2), by_search(5, 2, 2, 1, True)
    for (a, b), (c, d) in itertools.product(np.ndindex(shape), repeat=2):
        assert mask[a * 5 + b, c * 5 + d] == (rows[a, c] and columns[b, d])
    np.testing.assert_array_equal(window_mask((4, 4), 3), window_mask((4, 4), (3, 3)))


def test_edges_and_tables_say_what_the_mask_says():
    options = dict(dilation=1, causal=(True, False))
    mask = window_mask((3, 4), (2, 3), **options)
    senders, receivers = window_edges((3, 4), (2, 3), **options)
    assert list(zip(receivers, senders, strict=True)) == [tuple(pair) for pair in np.argwhere(mask)]
    table, valid = window_table((3, 4), (2, 3), **options)
    assert table.shape == valid.shape == (12, 6) and not table[~valid].any()
    for i in range(12):
        seen = table[i, valid[i]].tolist()
        assert seen[0] == i and sorted(seen) == np.flatnonzero(mask[i]).tolist() and seen[1:] == sorted(seen[1:])
        assert valid[i].tolist() == sorted(valid[i], reverse=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(kernel=0), "kernel=0 times dilation=1 does not fit an axis of 6"),
        (dict(kernel=7), "kernel=7 times dilation=1 does not fit an axis of 6"),
        (dict(kernel=4, dilation=2), "kernel=4 times dilation=2 does not fit"),
        (dict(kernel=3, dilation=0), "kernel=3 times dilation=0 does not fit"),
        (dict(kernel=3, stride=0), "stride=0, expected 1 <= stride <= kernel=3"),
        (dict(kernel=3, stride=4), "stride=4, expected 1 <= stride <= kernel=3"),
    ],
)
def test_windows_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        axis_window(6, **options)


@pytest.mark.parametrize("name", ["kernel", "dilation", "stride", "causal"])
def test_an_option_of_another_number_of_axes_is_refused(name):
    options = {"kernel": 3, name: (1, 1, 1)}
    with pytest.raises(ValueError, match=rf"window: {name}=\(1, 1, 1\) has 3 values, expected one an axis \(2\)"):
        window_mask((4, 4), **options)
    window_mask((6, 6), **{"kernel": 3, "dilation": 2, "stride": 3})
