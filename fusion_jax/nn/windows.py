"""Sliding windows on a path or a grid, as masks, edge lists and neighbour tables; host code, NumPy.

A window is shifted at the borders, never cut and never padded, so that every position sees the same number of
others. Reference: NATTEN (SHI-Labs/NATTEN, commit 8c8729f, `src/natten/backends/flex.py`), golden
`neighborhood-attention`. An axis option is one value for all axes or a sequence with one value an axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Axes = int | Sequence[int]


def axis_window(n: int, kernel: int, dilation: int = 1, stride: int = 1, causal: bool = False) -> np.ndarray:
    """bool [n, n], true where query i sees key j.

    Positions with equal remainder modulo `dilation` form a group, in which i' = i // dilation. `stride` queries
    in a row follow the middle one (causal: the last) of them; the `kernel` keys nearest that leader are seen,
    one more to the left if `kernel` is even. Causal: keys not after the query and less than `kernel` before
    the leader.

    Raises:
        ValueError: unless kernel * dilation <= n and 1 <= stride <= kernel.
    """
    if kernel < 1 or dilation < 1 or kernel * dilation > n:
        raise ValueError(f"window: kernel={kernel} times dilation={dilation} does not fit an axis of {n}")
    if not 1 <= stride <= kernel:
        raise ValueError(f"window: stride={stride}, expected 1 <= stride <= kernel={kernel}")
    position = np.arange(n)
    group, inner = position % dilation, position // dilation
    length = (n - group + dilation - 1) // dilation  # of the position's own group, n' in the reference
    start = inner // stride * stride
    same = group[:, None] == group[None]
    if causal:
        leader = np.minimum(start + stride - 1, length - 1)
        return same & (inner[None] <= inner[:, None]) & (leader[:, None] - inner[None] < kernel)
    left, right = kernel // 2, kernel // 2 - 1 + kernel % 2
    leader = np.minimum(start + stride // 2, length - 1)
    centre = np.clip(leader, left, length - 1 - right)
    offset = inner[None] - centre[:, None]
    return same & (-left <= offset) & (offset <= right)


def window_mask(
    shape: Sequence[int],
    kernel: Axes,
    dilation: Axes = 1,
    stride: Axes = 1,
    causal: bool | Sequence[bool] = False,
) -> np.ndarray:
    """bool [L, L], query x key, positions of `shape` in row-major order: the AND of the axes' windows.

    Raises:
        ValueError: an option with another number of axes, or a window that does not fit.
    """
    options = {"kernel": kernel, "dilation": dilation, "stride": stride, "causal": causal}
    options = [_per_axis(len(shape), value, name) for name, value in options.items()]
    mask = np.ones((1, 1), bool)
    for axis in zip(shape, *options, strict=True):
        mask = np.kron(mask, axis_window(*axis))
    return mask


def window_edges(shape: Sequence[int], kernel: Axes, **options) -> tuple[np.ndarray, np.ndarray]:
    """Senders (keys) and receivers (queries) of `window_mask`, sorted by receiver, for `Graph.create`."""
    receivers, senders = np.nonzero(window_mask(shape, kernel, **options))
    return senders, receivers


def window_table(shape: Sequence[int], kernel: Axes, **options) -> tuple[np.ndarray, np.ndarray]:
    """Keys of every query, int [L, k] with the query itself first, and bool [L, k], true where there is one.

    k is the largest number of keys; a slot without one holds 0.
    """
    mask = window_mask(shape, kernel, **options)
    valid = np.arange(mask.sum(1).max()) < mask.sum(1)[:, None]
    own = np.eye(len(mask), dtype=int)
    table = np.argsort(-(mask.astype(int) + own), axis=1, kind="stable")[:, : valid.shape[1]]
    return np.where(valid, table, 0), valid


def _per_axis(axes: int, value, name: str) -> list:
    values = list(value) if np.ndim(value) else [value] * axes
    if len(values) != axes:
        raise ValueError(f"window: {name}={value} has {len(values)} values, expected one an axis ({axes})")
    return values
