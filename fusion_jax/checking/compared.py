"""Two results against each other: near, equal to the bit, finite; and what an attention is."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from fusion_jax.checking.base import Broken, expect
from fusion_jax.records import Attention


def close(a: Any, b: Any, found: str = "other numbers", do: str = "", tol: float = 2e-5) -> None:
    """Raises `Broken` where |a - b| > tol |b| + tol max(1, |b|_max) anywhere, or where shapes differ."""
    a, b = np.asarray(a), np.asarray(b)
    expect(a.shape == b.shape, f"{found} (shape {a.shape} instead of {b.shape})", do)
    try:
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol * max(1.0, float(np.abs(b).max(initial=0))))
    except AssertionError:
        with np.errstate(invalid="ignore"):
            largest = np.nanmax(np.abs(a.astype(float) - b.astype(float)), initial=0)
        raise Broken(f"{found} (they differ by up to {largest:.2g})", do) from None


def differ(a: Any, b: Any) -> bool:
    """Whether two results of one form differ in any number."""
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return any(not np.array_equal(x, y, equal_nan=True) for x, y in leaves)


def equal(a: Any, b: Any, found: str = "other numbers", do: str = "") -> None:
    """Raises `Broken` where two results of one form differ in any bit that counts."""
    expect(not differ(a, b), found, do)


def finite(tree: Any) -> bool:
    """Whether all numbers of a tree are finite."""
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(tree))


def not_finite(tree: Any) -> list[str]:
    """The paths of the leaves that hold a number which is not finite."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [_dotted(path) for path, leaf in leaves if not np.isfinite(np.asarray(leaf)).all()]


def _dotted(path: tuple) -> str:
    return ".".join(str(getattr(p, "key", getattr(p, "idx", getattr(p, "name", p)))) for p in path)


def check_attention(attention: tuple[Attention, ...], nodes: int, modalities: int = 1) -> None:
    """Names differ; axes fit; a key that cannot be seen weighs exactly 0; what is normalised sums to 1 over keys.

    Raises:
        Broken: names the attention.
    """
    names = [a.name for a in attention]
    expect(len(set(names)) == len(names), f"two attentions of one name: {names}", "give each a name of its own")
    for a in attention:
        _check_axes(a, nodes, modalities)
        _check_weights(a, nodes)


def _check_axes(a: Attention, nodes: int, modalities: int) -> None:
    shape = np.shape(a.weights)
    expect(len(a.axes) == len(shape), f"attention {a.name!r}: axes {a.axes} of weights {shape}", "name every axis")
    along = a.senders is not None
    expect(
        ("edge" in a.axes) is along is (a.receivers is not None),
        f"attention {a.name!r}: axes {a.axes}, senders {'given' if along else 'not given'}",
        'an attention along edges has an axis "edge", senders and receivers',
    )
    known = dict(node=nodes, modality=modalities, edge=len(a.senders) if along else 0)
    wrong = [f"{axis} {size}" for axis, size in zip(a.axes, shape, strict=True) if known.get(axis, size) != size]
    expect(
        not wrong, f"attention {a.name!r}: axes {a.axes} of weights {shape}", f"{wrong} is not the size of that axis"
    )
    if a.valid is not None:
        expect(
            np.ndim(a.valid) == len(shape),
            f"attention {a.name!r}: valid {np.shape(a.valid)} of weights {shape}",
            "as many axes as the weights, of size 1 where nothing depends on one",
        )
    if a.scores is not None:
        expect(np.shape(a.scores) == shape, f"attention {a.name!r}: scores {np.shape(a.scores)} of weights {shape}")


def _check_weights(a: Attention, nodes: int) -> None:
    w, valid = np.asarray(a.weights), np.ones(np.shape(a.weights), bool)
    expect(np.isfinite(w).all(), f"attention {a.name!r}: weights are not finite")
    if a.valid is not None:
        valid = np.broadcast_to(np.asarray(a.valid), w.shape)
    expect(
        not w[~valid].any(),
        f"attention {a.name!r}: a key that cannot be seen has a weight",
        "jnp.where(valid, weights, 0)",
    )
    if not a.normalised:
        return
    if a.senders is None:
        last = a.axes[-1] == a.keys or a.keys in ("token", "other")
        expect(last, f"attention {a.name!r}: axes {a.axes}, keys {a.keys!r}", "the last axis is that of the keys")
        total, seen = w.sum(-1), valid.any(-1)
    else:
        total, seen = (sums(x, a, nodes) for x in (w, valid.astype(float)))
    say = f"attention {a.name!r}: weights do not sum to 1 over the keys"
    close(total, np.asarray(seen > 0, float), say, "or say normalised=False")


def sums(x: np.ndarray, a: Attention, nodes: int) -> np.ndarray:
    """Of numbers on edges, the sum at every receiver."""
    by_edge = np.moveaxis(x, a.axes.index("edge"), 0)
    total = np.zeros((nodes, *by_edge.shape[1:]))
    np.add.at(total, np.asarray(a.receivers), by_edge)
    return total
