"""How much two sources say of classes, alone and together, each amount with a p and what chance takes off it.

By the Gaussian bounds (`card.gaussian`), with I_a, I_b of each alone, A the best additive model's, J the joint one's:

    redundant    min(I_a, I_b)          minimal information: Barrett, "Exploration of Synergistic and Redundant
    unique a     I_a - redundant        Information Sharing in Static and Dynamical Gaussian Systems", 2015
    additive     A - max(I_a, I_b)      what both say beyond the better one, and sums of log-odds reach
    interaction  J - A                  what no sum of log-odds reaches, products of the two do
    beyond a     J - I_a                what is gained over one alone, in all

so that redundant + unique a + unique b + additive + interaction = J. Additive and interaction are the synergy of that
measure, parted: two sources that are independent given the class have synergy by it, and need no interaction. Of two
sources that say equally much none is unique by it, though they say it of different rows; `additive` shows that.

What chance alone gives, the null, is of three kinds:

- of the informations, `joint` and `redundant`, and of all discrete amounts but synergy: labels shuffled among the rows;
- of `unique`, `additive` and `beyond`, which are differences of two models' mean log-scores: the models exchanged in
  half of the rows, drawn at random;
- of `interaction` and `synergy`: the rows of b shuffled within their class. Both sources say then what they said, and
  nothing of each other but through the class.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from fusion_jax.data.card import discrete
from fusion_jax.data.card.gaussian import Held


@dataclasses.dataclass(frozen=True)
class Scored:
    """Bits of every row [n] by the better source alone, each source, the best additive model, and the joint one."""

    a: np.ndarray
    b: np.ndarray
    sums: np.ndarray
    joint: np.ndarray

    @property
    def better(self) -> np.ndarray:
        return max(self.a, self.b, key=np.mean)

    def amounts(self) -> dict[str, float]:
        a, b, sums, joint = (float(x.mean()) for x in (self.a, self.b, self.sums, self.joint))
        own = {"information a": a, "information b": b, "joint": joint, "redundant": min(a, b)}
        own |= {"unique a": max(a - b, 0.0), "unique b": max(b - a, 0.0)}
        own |= {"additive": sums - max(a, b), "interaction": joint - sums}
        return own | {"beyond a": joint - a, "beyond b": joint - b}


def scored(a: np.ndarray, b: np.ndarray, labels: np.ndarray, classes: int) -> Scored:
    """Of features [n, d_a] and [n, d_b], and labels int [n]."""
    held = Held(labels, classes)
    (one, flat_a), (other, flat_b), (both, flat) = map(held.models, (a, b, np.concatenate([a, b], 1)))
    first, second = held.rows(one, flat_a), held.rows(other, flat_b)
    sums = max(first, second, held.rows(one + other, flat), key=np.mean)
    joint = max(sums, held.rows(both, (both + flat) / 2), key=np.mean)
    return Scored(first, second, sums, joint)


def gaussian(a: np.ndarray, b: np.ndarray, labels: np.ndarray, classes: int, permutations: int, seed: int = 0):
    """Lines of `line`, an amount each, of features [n, d_a] and [n, d_b]."""
    rng, found = np.random.default_rng(seed), scored(a, b, labels, classes)
    shuffled = [scored(a, b, rng.permutation(labels), classes).amounts() for _ in range(permutations)]
    apart = [scored(a, b[within(labels, rng)], labels, classes).amounts() for _ in range(permutations)]
    signs = rng.choice([-1.0, 1.0], size=(permutations, len(labels)))
    gains = {
        "unique a": found.a - found.b,
        "unique b": found.b - found.a,
        "additive": found.sums - found.better,
        "beyond a": found.joint - found.a,
        "beyond b": found.joint - found.b,
    }
    nulls = {name: np.maximum(signs @ gain / len(labels), 0) for name, gain in gains.items()}
    nulls["interaction"] = np.array([one["interaction"] for one in apart])
    return [
        line(name, bits, nulls[name] if name in nulls else np.array([one[name] for one in shuffled]))
        for name, bits in found.amounts().items()
    ]


def discretely(a: np.ndarray, b: np.ndarray, labels: np.ndarray, permutations: int, seed: int = 0):
    """Lines of `line`, an amount each, of symbols int [n] and [n]."""

    def measured(b, labels):
        return discrete.decomposed(discrete.counted(a, b, labels))

    rng = np.random.default_rng(seed)
    shuffled = [measured(b, rng.permutation(labels)) for _ in range(permutations)]
    apart = [measured(b[within(labels, rng)], labels) for _ in range(permutations)]
    return [
        line(name, bits, np.array([one[name] for one in (apart if name == "synergy" else shuffled)]))
        for name, bits in measured(b, labels).items()
    ]


def line(name: str, bits: float, null: np.ndarray) -> dict:
    """amount, bits, null (its mean, at least 0), corrected (what is left of bits, at least 0), and p: (1 + how many
    nulls are as large) / (1 + their number)."""
    mean = max(0.0, float(null.mean()))
    p = (1 + int((null >= bits - 1e-12).sum())) / (1 + len(null))
    return dict(amount=name, bits=float(bits), null=mean, corrected=max(0.0, float(bits) - mean), p=p)


def within(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A permutation [n] of rows that keeps the class of each."""
    order = np.arange(len(labels))
    for c in np.unique(labels):
        rows = np.flatnonzero(labels == c)
        order[rows] = rng.permutation(rows)
    return order
