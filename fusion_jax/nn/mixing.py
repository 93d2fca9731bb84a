"""What stands in the place of softmax attention while a mechanism is built or called (the kind `mixer`).

`nn.attention.attend`, `nn.attention.MultiHeadAttention` and `nn.segment.edge_attend` ask here how to weigh their keys.
Outside of `Mixing.inside` and `Building.inside` the answer is the softmax of scaled products, and nothing of a mixer is
left behind when these have ended.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Collection, Iterator
from typing import Any, Protocol

import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from fusion_jax.records import Array

_MIXING: contextvars.ContextVar[Mixing | None] = contextvars.ContextVar("how attentions weigh now", default=None)
_BUILDING: contextvars.ContextVar[Building | None] = contextvars.ContextVar("what attentions are now", default=None)
MARK = "attention "  # begins the name of the weights of a counted attention, its number behind it


class Keys(Protocol):
    """What a query chooses from: tokens side by side (`nn.attention.Tokens`), or the senders of a node (`nn.segment`).

    Shapes are those of the weights, [..., H, T, L] or [E, H].
    """

    def pair(self, q: Array, k: Array) -> Array:
        """q_t . k_l, head by head."""

    def of_key(self, values: Array) -> Array:
        """One number a key, whoever asks: [..., L, H] or [N, H] in the shape of the weights."""

    def own(self, q: Array, k: Array) -> Array | None:
        """q of the keys themselves, 0 where none sees them; None where queries are no keys."""

    def softmax(self, logits: Array) -> Array:
        """Over the keys that can be seen, 0 at the others."""

    def share(self, values: Array) -> Array:
        """Values over their sum over the keys that can be seen, 0 at the others."""


def softmax_of_products(keys: Keys, q: Array, k: Array, scale: float, bias: Array | None) -> Array:
    """softmax_l(scale q_t . k_l + bias), what attention is unless something else is said."""
    # Not keys.pair(q, k) * scale: a product would be compiled into the difference to the largest logit, not rounded
    # there as it was for the largest; of logits of 1e10 in float32 hundreds are left, of which exp is infinite or 0.
    logits = keys.pair(q * scale, k)
    return keys.softmax(logits if bias is None else logits + bias)


def weigh(keys: Keys, q: Array, k: Array, scale: float, bias: Array | None) -> Array:
    """The weights of one attention, as the mixing says that it stands in."""
    now = _MIXING.get()
    return softmax_of_products(keys, q, k, scale, bias) if now is None else now.weigh(keys, q, k, scale, bias)


def current() -> Mixing | None:
    return _MIXING.get()


def building() -> Building | None:
    return _BUILDING.get()


class Mixing:
    """One call of a mechanism, whose attentions are counted from 1 in the order in which they are called.

    Args:
        where: kind and name of the mechanism, for errors.
        mixer: what weighs in the chosen ones (`mixers.base.Mixer`).
        chosen: their numbers; the others stay as they are.
        stream: (q, k) of every attention when something else went through the same mechanism, which stand for its own
            in the chosen ones; None of a mixer that has no such thing.
        skip: the chosen ones return 0 (one that is no `MultiHeadAttention` has weights 0; a bias that the mechanism
            adds behind it stays).
        marked: whether weights carry their number by name, for who looks at the program.

    Attributes:
        count: attentions so far.
        loose: how many of them are no `MultiHeadAttention`.
        seen: (q, k) of each.
        left_out: whether the last one returns 0, so that the projection behind it is to do so too.
    """

    def __init__(
        self,
        where: str,
        mixer: Any = None,
        chosen: Collection[int] = (),
        *,
        stream: list[tuple[Array, Array]] | None = None,
        skip: bool = False,
        marked: bool = False,
    ):
        self.where, self.mixer, self.chosen = where, mixer, frozenset(chosen)
        self.stream, self.skip, self.marked = stream, skip, marked
        self.count, self.loose, self.seen, self.left_out = 0, 0, [], False
        self._first: tuple[Array, Array] | None = None
        self._own: bool | None = None  # of the MultiHeadAttention that is to weigh next: whether it asks its own keys

    @contextlib.contextmanager
    def inside(self) -> Iterator[Mixing]:
        before = _MIXING.set(self)
        try:
            yield self
        finally:
            _MIXING.reset(before)

    def refuse(self, why: str) -> ValueError:
        return ValueError(f"{self.where}: mixer {self.mixer.name!r} cannot stand in its attention {self.count}: {why}")

    def sources(self, query: Array, keys: Array) -> tuple[Array, Array]:
        """What a `MultiHeadAttention` that is about to weigh projects its queries and keys from."""
        self._own = keys is query
        if self._first is None:
            self._first = query, keys
        number = self.count + 1
        if number not in self.chosen or not self.mixer.static:
            return query, keys
        for name, now, first in zip(("queries", "keys"), (query, keys), self._first, strict=True):
            if now.shape != first.shape:
                self.count = number
                raise self.refuse(f"{name} of the shape {now.shape}, those of the first attention have {first.shape}")
        return self._first

    def passes(self, number: int) -> bool:
        """Counts an attention that was built as something else, the `number`-th (0: any); whether it is left out.

        Raises:
            ValueError: it is called in another place than it was built in.
        """
        self.count += 1
        if number not in (0, self.count):
            raise self.refuse(f"it was built as number {number}; layers='uniform' does not ask for the order")
        return self.skip

    def weigh(self, keys: Keys, q: Array, k: Array, scale: float, bias: Array | None) -> Array:
        self.count += 1
        own, self._own = self._own, None
        self.left_out = self.skip and self.count in self.chosen
        self.loose += own is None
        self.seen.append((q, k))
        if self.count in self.chosen:
            weights = self._simple(keys, q, k, scale, bias, own)
        else:
            weights = softmax_of_products(keys, q, k, scale, bias)
        return checkpoint_name(weights, f"{MARK}{self.count}") if self.marked else weights

    def _simple(self, keys, q, k, scale, bias, own):
        if self.mixer.static and own is None:
            raise self.refuse("it is given queries and keys as they are, there are no projections")
        if self.mixer.own_query and own is False:
            raise self.refuse("its queries are not its keys (cross attention)")
        if self.stream is not None:
            q, k = (jnp.broadcast_to(s, a.shape) for s, a in zip(self.stream[self.count - 1], (q, k), strict=True))
        weights = self.mixer.weights(keys, q, k, scale, bias)
        if weights is None:
            raise self.refuse("its queries are not its keys (cross attention)")
        return jnp.zeros_like(weights) if self.left_out else weights


class Building:
    """Makes something else of the `MultiHeadAttention`s of a mechanism: of the chosen, counted as they are built, or of
    all with None."""

    def __init__(self, chosen: Collection[int] | None):
        self.chosen, self.count = chosen, 0

    @contextlib.contextmanager
    def inside(self) -> Iterator[Building]:
        before = _BUILDING.set(self)
        try:
            yield self
        finally:
            _BUILDING.reset(before)

    def next(self) -> int | None:
        """The number of the one that is being built (0 if all are chosen), None where it stays as it is."""
        self.count += 1
        if self.chosen is None:
            return 0
        return self.count if self.count in self.chosen else None
