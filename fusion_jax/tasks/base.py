"""The contract of a task, and what most share.

A task is a class named like its file. It has no state: what it is asked about stands in the `Target`, whose fields are
NumPy arrays on the host, in the form `convert` gives them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax import zoo
from fusion_jax.arrays import refuse
from fusion_jax.records import Array, Context, Output, Target

Score = Callable[[Output, Target, Array, Context], Array]  # output, target, weight [N], context -> scalar


@dataclasses.dataclass(frozen=True)
class Field:
    """One array of a target.

    Attributes:
        convert: (value, where) -> NumPy array [N, ...] in the one form the record holds; raises ValueError, naming
            `where`, for what has no plain meaning.
        hidden: what stands in rows that must not be seen; None where the field says nothing that has to be hidden.
    """

    convert: Callable[[Any, str], np.ndarray]
    hidden: Any = 0


class Task:
    """What is predicted, how it is learned, stored and scored. A subclass says what differs from this one.

    Attributes:
        fields: {name: Field} of its targets, in order.
        readouts: {level a row can be of: the readout where a config names none}.
        loss: the training loss where a config names none.
        primary: the metric that ranks.
        tie: a metric that decides between equal values of it, and is recorded with the others; "" for none.
        metrics: names (or paths) of metrics of other tasks that score this one too.
        probabilities: whether the softmax of its predictions is a distribution, so that calibration can be asked for.
        dtype: of stored predictions.
        version: counts the changes after which it computes other numbers than before, as that of an `Info`.
    """

    fields: ClassVar[Mapping[str, Field]]
    readouts: ClassVar[Mapping[str, str]] = {"node": "last", "graph": "mean"}
    loss: ClassVar[str]
    primary: ClassVar[str]
    tie: ClassVar[str] = ""
    metrics: ClassVar[tuple[str, ...]] = ()
    probabilities: ClassVar[bool] = False
    dtype: ClassVar[type] = np.float32
    version: ClassVar[int] = 1

    def convert(self, target: Target, where: str) -> Target:
        """The target with NumPy arrays in the one form of each field.

        Raises:
            ValueError: a field is missing, one too many, or has no plain meaning; names it.
        """
        outputs = target.num_outputs
        if isinstance(outputs, bool) or not isinstance(outputs, int | np.integer) or outputs < 1:
            refuse(where + ".num_outputs", repr(outputs), "an integer, at least 1")
        for name in target.fields:
            if name not in self.fields:
                refuse(f"{where}.{name}", "an array", f"None (the kind is {target.kind!r})")
        made = {}
        for name, field in self.fields.items():
            if name not in target.fields:
                refuse(f"{where}.{name}", "None", f"an array (the kind is {target.kind!r})")
            made[name] = field.convert(target.fields[name], f"{where}.{name}")
        return dataclasses.replace(target, num_outputs=int(outputs), fields=made)

    def validate(self, target: Target, data: Any, fail: Callable[[str, str, str], None]) -> None:
        """Calls fail(field, found, expected) where a converted target is not consistent, in itself or with its data.

        Its level and its number of rows are checked already.
        """

    def check_split(self, target: Target, parts: Mapping[str, np.ndarray], where: str) -> None:
        """Raises ValueError where nothing can be learned or selected on `parts`, row numbers of train, val and test."""

    def hide_unseen(self, target: Target, seen: Array | np.ndarray) -> Target:
        """The target with every field's `hidden` value in the rows that are not `seen`, bool [N]; on the device too."""
        numpy = jnp if isinstance(seen, jax.Array) else np

        def kept(name: str, field: Field):
            value = numpy.asarray(target.fields[name])
            if field.hidden is None:
                return value
            shown = seen.reshape(-1, *([1] * (value.ndim - 1)))
            return numpy.where(shown, value, numpy.asarray(field.hidden, value.dtype))

        return dataclasses.replace(target, fields={name: kept(name, field) for name, field in self.fields.items()})

    def units(self, target: Target, rows: np.ndarray) -> Any:
        """The `tasks.values.Units` of the predictions, fitted on training `rows`; None where they have no unit."""
        return None

    def learned(self, target: Target, units: Any) -> Target:
        """The target as a model learns it: in standardised units where it has some."""
        del units
        return target

    def class_weights(self, target: Target, rows: np.ndarray) -> np.ndarray:
        """The weights of the training `rows` with `loss.class_weights`.

        Raises:
            ValueError: the task has no classes.
        """
        raise ValueError(f"loss.class_weights=True needs a classification target, this one is {target.kind!r}")

    def links(self, target: Target, train: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Where rows are pairs of nodes: all of them [N, 2], and those of them between which no edge may stand.

        None where rows are something else.
        """
        return None

    def score(self, loss: Score) -> Score:
        """The score that keeps an epoch, on validation rows, larger is better: minus the loss."""
        return lambda output, target, weight, context: -loss(output, target, weight, context)

    def validation(self, score: float, rows: int) -> tuple[str, float]:
        """A selection score (`score`, as the history has it) of so many rows in words: what it is, and its value."""
        del rows
        return "loss", -score

    def parts(self, target: Target) -> Iterator[tuple[str, Target, slice]]:
        """(name, target, its columns of a prediction) of everything that is scored by itself; "" is the whole."""
        yield "", target, slice(None)

    def parts_of(self, about: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], slice]]:
        """The same of what `about` describes: (name, what describes it, its columns of a prediction)."""
        yield "", about, slice(None)

    def columns(self, target: Target) -> dict[str, Any]:
        """{name: [N], or a list of N rows} of the target in the table of predictions."""
        return {name: stored(np.asarray(target.fields[name])) for name in self.fields}

    def told(self, prediction: np.ndarray) -> np.ndarray:
        """The predictions [S, N, C] of some seeds as a reader wants them, before a mean over the seeds is taken.

        Probabilities where a task has them; else as they are.
        """
        return np.asarray(prediction, np.float64)

    def answers(self, told: np.ndarray, names: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
        """{column: [N]} of a table of predictions `told` [S, N, C]: here mean and standard deviation over the seeds.

        Args:
            names: of the classes, or ().
        """
        found, several = {}, told.shape[-1] > 1
        for k in range(told.shape[-1]):
            end = f" {k}" if several else ""
            found["prediction" + end] = told[..., k].mean(0)
            if len(told) > 1:
                found["spread" + end] = told[..., k].std(0, ddof=1)
        return found

    def about(self, target: Target) -> dict[str, Any]:
        """What `restored` has to know besides the columns, as JSON."""
        return dict(kind=zoo.absolute(target.kind), level=target.level, num_outputs=int(target.num_outputs))

    def restored(self, about: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> Target:
        """The target of `columns`: arrays [N] or [N, K]."""
        return Target(**about, fields={name: columns[name] for name in self.fields})

    def primary_of(self, about: Mapping[str, Any]) -> str:
        """The metric that ranks, for such a target."""
        return self.primary


def stored(array: np.ndarray) -> Any:
    """An array as a column of a table: its rows as a list where it has columns itself."""
    return array if array.ndim == 1 else list(array)
