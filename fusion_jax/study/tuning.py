"""Tuning: what is tried of a variant, how often and on which seeds; one budget for all variants of a study.

A study says it once for all of its cells, or of a cell where it is added:

    from fusion_jax.study import tuning

    def tune():  # or `from fusion_jax.study.tuning import tune`, the default space and number of trials
        return tuning.tune({"optimizer.learning_rate": (1e-4, 3e-2, "log"), "model.rate": (0.0, 0.2, 0.5)}, trials=16)

    def sweep(add):
        add({"model.fusion.name": "gmu"})
        add({"model.fusion.name": "moe"}, tune={"model.fusion.options.experts": (2, 4, 8)}, trials=16)

A space is {key of the config: what it may be}: (low, high, "log"), (low, high, "linear") or (low, high, "int") for all
numbers in between, both ends included; else the values themselves. Keys that begin with `control.` are for the
controls, and each takes those that it has; all other keys are for the models.

Every trial trains the tuning seeds and is scored on their validation rows; the cell with the values of the best trial
is then trained on the seeds 0, 1, ..., which have other splits and other initial values. Where all seeds share their
test rows, no tuning seed trains or validates on one of them: test rows have no part in the choice. Where every seed
draws its own, a row that validates for a tuning seed may be a test row of a final one; what passes that way is one
choice among so many trials, the same for every variant.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fusion_jax.study.keys import plain
from fusion_jax.zoo import nearest

TRIALS = 16
FIRST_SEED = 10_000  # tuning seeds count from here; a cell's own are all below (`ranges.MOST`)
SEEDS = 3
MOST = 10_000  # trials, and seeds
SPACE = {
    "optimizer.learning_rate": (1e-4, 3e-2, "log"),
    "model.rate": (0.0, 0.2, 0.5),
    "optimizer.options.weight_decay": (1e-6, 1e-2, "log"),
}
SAMPLERS = ("tpe", "random", "grid")
RANGES = ("log", "linear", "int")
ASKED = ("label", "seeds", "per_seed", "protocol")  # the question itself, as all of `data.`


@dataclasses.dataclass(frozen=True)
class Tuning:
    """How a cell is tuned.

    Attributes:
        space: {key of the config: what it may be}, see the module.
        trials: how many points of the space are tried.
        sampler: "tpe", Optuna's tree-structured Parzen estimator; "random"; or "grid", all points of the space.
        seeds: the tuning seeds.
        draw: the randomness of the sampler. All variants are tuned with the same, so that their first points, which
            do not look at scores yet, are alike.
    """

    space: Mapping[str, tuple]
    trials: int = TRIALS
    sampler: str = "tpe"
    seeds: tuple[int, ...] = tuple(range(FIRST_SEED, FIRST_SEED + SEEDS))
    draw: int = 0

    def name(self, identity: str) -> str:
        """16 hex digits of the tuning of a cell of that identity: what was tried does not count for another one."""
        text = json.dumps([identity, self.record()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def record(self) -> dict[str, Any]:
        """Of all fields, as JSON has it."""
        return plain(dataclasses.asdict(self))


def tune(
    space: Mapping[str, Sequence] | None = None,
    *,
    trials: int | None = None,
    sampler: str = "tpe",
    seeds: int = SEEDS,
    draw: int = 0,
) -> Tuning:
    """A tuning, checked; of the default space (`SPACE`) and number of trials where none is given.

    Imported into a study file it is the study's own `tune`, and tunes all of its models by the default.

    Args:
        trials: None for the points of the space with sampler "grid", else for `TRIALS`.
        seeds: how many.
    Raises:
        ValueError: an empty space, a range without numbers in it, a value twice, fewer trials or seeds than one or more
            than `MOST`, an unknown sampler, a grid over a range, or another number of trials than the grid has points.
    """
    space = SPACE if space is None else space
    if not isinstance(space, Mapping):
        raise ValueError(f"tune: the space is {space!r}, expected {{key of the config: values}}")
    space = {key: _values(key, value) for key, value in space.items()}
    if not space:
        raise ValueError("tune: the space is empty, expected {key of the config: values}")
    if sampler not in SAMPLERS:
        raise ValueError(f"tune: sampler={sampler!r}{nearest(sampler, SAMPLERS)}; expected one of {SAMPLERS}")
    if sampler == "grid":
        points = len(grid(space))
        trials = points if trials is None else trials
        if trials != points:
            raise ValueError(f"tune: trials={trials}, but the grid has {points} points, and is tried as a whole")
    trials = TRIALS if trials is None else trials
    trials, draw = _count("trials", trials), _count("draw", draw, least=0, most=2**32 - 1)
    last = FIRST_SEED + _count("seeds", seeds)
    return Tuning(space, trials, sampler, tuple(range(FIRST_SEED, last)), draw)


def marked(label: str, trials: int) -> str:
    """The label of a tuned row."""
    return f"{label} (tuned, {trials} trials)"


def untuned(label: str) -> str:
    """The label without what `marked` has added."""
    return re.sub(r" \(tuned, \d+ trials\)$", "", label)


def is_range(values: Sequence) -> bool:
    """Whether values of a space are (low, high, word), all numbers in between."""
    return len(values) == 3 and isinstance(values[2], str) and values[2] in RANGES


def grid(space: Mapping[str, tuple]) -> list[dict[str, Any]]:
    """All points of a space.

    Raises:
        ValueError: a key has a range, which has no end of values.
    """
    for key, values in space.items():
        if is_range(values):
            raise ValueError(f"tune: {key!r} is the range {values}, a grid needs values: name them")
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*space.values())]


def ends(values: tuple) -> tuple:
    """Both ends of a range, else all the values: what has to be possible."""
    return values[:2] if is_range(values) else values


def of_cell(given: Tuning, config: Mapping[str, Any]) -> Tuning | None:
    """The tuning with the keys that are for a cell: a control's own options, or all that is not a control's.

    None where it has none of them.

    Raises:
        ValueError: a grid of fewer points than there are trials for others.
    """
    options = config["control"]["options"]
    if config["control"]["name"]:
        own = [key for key in given.space if key.startswith("control.options.") and key.rpartition(".")[2] in options]
    else:
        own = [key for key in given.space if not key.startswith("control.")]
    if not own:
        return None
    space = {key: given.space[key] for key in own}
    if given.sampler == "grid" and len(grid(space)) != given.trials:
        raise ValueError(
            f"tune: of {given.trials} trials a grid over {', '.join(own)} has {len(grid(space))} points; every variant "
            "gets as many trials: expected a sampler 'random' or 'tpe', or as many values"
        )
    return dataclasses.replace(given, space=space)


def as_tuning(given: Any, trials: int | None = None) -> Tuning:
    """What a study says of its tuning: a `Tuning`, or a space with a number of trials.

    Raises:
        ValueError: something else.
    """
    if isinstance(given, Callable):
        given = given()
    if isinstance(given, Tuning):
        return given if trials is None else dataclasses.replace(given, trials=_count("trials", trials))
    if not isinstance(given, Mapping):
        raise ValueError(f"tune is {given!r}, expected a space {{key of the config: values}}, or what `tune` returns")
    return tune(given, trials=trials)


def check_budgets(tunings: Sequence[tuple[str, Tuning]]) -> None:
    """Raises ValueError where variants (label, tuning) of one study have other numbers of trials or of seeds."""
    for what in ("trials", "seeds"):
        found: dict[Any, str] = {}
        for label, own in tunings:
            found.setdefault(getattr(own, what), label)
        if len(found) > 1:
            count = [f"{label} {value if what == 'trials' else len(value)}" for value, label in found.items()]
            raise ValueError(f"tune: variants get other numbers of {what} ({', '.join(count)}), expected one for all")


def _values(key: str, given: Any) -> tuple:
    """The values of a key, checked."""
    if not isinstance(key, str):
        raise ValueError(f"tune: the space has the key {key!r}, expected a key of the config")
    if key in ASKED or key.startswith("data."):
        raise ValueError(f"tune: {key!r} is what is asked, and not to be tuned")
    if key.endswith(".name"):
        raise ValueError(f"tune: {key!r} names a mechanism, which has a row of its own: add a cell for each")
    if isinstance(given, str) or not isinstance(given, Sequence) or not len(given):
        raise ValueError(f"tune: {key!r} is {given!r}, expected values, or (low, high, 'log', 'linear' or 'int')")
    values = tuple(given)
    if is_range(values):
        low, high, word = values
        if not (_number(low) and _number(high)):
            raise ValueError(f"tune: {key!r} is the range {values}, expected two numbers before {word!r}")
        whole = word != "int" or (low == int(low) and high == int(high))
        if not (math.isfinite(low) and math.isfinite(high) and low < high and whole) or (word == "log" and low <= 0):
            least = ", above 0" if word == "log" else ", whole numbers" if word == "int" else ""
            raise ValueError(f"tune: {key!r} is the range {values}, expected low < high{least}")
    elif len(values) == 3 and isinstance(values[2], str) and all(isinstance(v, int | float) for v in values[:2]):
        raise ValueError(f"tune: {key!r} is {values}{nearest(values[2], RANGES)}; expected one of {RANGES} at its end")
    elif twice := [value for i, value in enumerate(values) if value in values[:i]]:
        raise ValueError(f"tune: {key!r} is {values}, which has {twice[0]!r} twice; expected every value once")
    return values


def _number(value: Any) -> bool:
    """NumPy's are some too."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _count(name: str, value: Any, least: int = 1, most: int = MOST) -> int:
    """Raises ValueError where a value is no whole number in that range."""
    if not (_number(value) and math.isfinite(value) and value == int(value)) or value < least:
        raise ValueError(f"tune: {name}={value!r}, expected a whole number, at least {least}")
    if value > most:
        raise ValueError(f"tune: {name}={value!r}, expected at most {most}")
    return int(value)
