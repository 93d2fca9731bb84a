"""Several targets at once: each has a task of its own, their predictions stand side by side, [N, C1 + C2 + ...].

Target("several", colour=Target("classes", labels=..., num_outputs=3), size=Target("values", values=...))
"""

from __future__ import annotations

import dataclasses

import numpy as np

from fusion_jax import tasks
from fusion_jax.arrays import refuse
from fusion_jax.records import Target
from fusion_jax.tasks.base import Task
from fusion_jax.tasks.values import Units


class Several(Task):
    """The fields are the targets, in their order, all of the same rows; `num_outputs` is the sum of theirs.

    Each is hidden, learned, stored and scored as its own task has it: "colour: accuracy", "size: rmse". The first one's
    primary metric ranks.
    """

    loss = "several"
    dtype = np.float64  # some may be values

    def convert(self, target, where):
        if not target.fields:
            refuse(where, "no targets", "one or more by name, such as colour=Target(...)")
        made = {}
        for name, part in target.fields.items():
            at = f"{where}.{name}"
            if not isinstance(part, Target) or isinstance(tasks.of(part), Several):
                refuse(at, type(part).__name__ if not isinstance(part, Target) else repr(part.kind), "one Target")
            if ": " in name:
                refuse(at, f"the name {name!r}", "a name without ': ', which stands before its metrics")
            made[name] = tasks.of(part).convert(dataclasses.replace(part, level=target.level), at)
        return dataclasses.replace(target, num_outputs=sum(part.num_outputs for part in made.values()), fields=made)

    def validate(self, target, data, fail):
        if data.class_names:
            fail("class_names", f"{len(data.class_names)} names", "none, where there are several targets")
        for name, part, _ in self.parts(target):

            def failed(field: str, found: str, expected: str, name: str = name):
                fail(field.replace("target", f"target.{name}", 1), found, expected)

            if len(part) != len(target):
                failed("target", f"{len(part)} rows", f"{len(target)}, as in the others")
            if target.level not in tasks.of(part).readouts:
                failed("target.level", repr(target.level), " or ".join(map(repr, tasks.of(part).readouts)))
            tasks.of(part).validate(part, data, failed)

    def check_split(self, target, parts, where):
        for name, part, _ in self.parts(target):
            tasks.of(part).check_split(part, parts, f"{where}, target {name!r}")

    def hide_unseen(self, target, seen):
        hidden = {name: tasks.of(part).hide_unseen(part, seen) for name, part, _ in self.parts(target)}
        return dataclasses.replace(target, fields=hidden)

    def units(self, target, rows):
        """Those of all columns: 0 and 1 for the columns of a target without; None where no target has any."""
        own = {name: tasks.of(part).units(part, rows) for name, part, _ in self.parts(target)}
        if all(units is None for units in own.values()):
            return None
        shift, scale = np.zeros(target.num_outputs), np.ones(target.num_outputs)
        for name, _, columns in self.parts(target):
            if own[name] is not None:
                shift[columns], scale[columns] = own[name].shift, own[name].scale
        return Units(shift, scale)

    def learned(self, target, units):
        if units is None:
            return target
        made = {}
        for name, part, columns in self.parts(target):
            made[name] = tasks.of(part).learned(part, Units(units.shift[columns], units.scale[columns]))
        return dataclasses.replace(target, fields=made)

    def parts(self, target):
        start = 0
        for name, part in target.fields.items():
            yield name, part, slice(start, start := start + part.num_outputs)

    def columns(self, target):
        each = {name: tasks.of(part).columns(part) for name, part, _ in self.parts(target)}
        return {f"{name}: {column}": value for name, own in each.items() for column, value in own.items()}

    def parts_of(self, about):
        start = 0
        for name, part in about["parts"].items():
            yield name, part, slice(start, start := start + part["num_outputs"])

    def about(self, target):
        parts = {name: tasks.of(part).about(part) for name, part, _ in self.parts(target)}
        return {**super().about(target), "parts": parts}

    def restored(self, about, columns):
        made = {}
        for name, part in about["parts"].items():
            head = f"{name}: "
            own = {column.removeprefix(head): value for column, value in columns.items() if column.startswith(head)}
            made[name] = tasks.restored(part, own)
        return Target(about["kind"], num_outputs=about["num_outputs"], level=about["level"], fields=made)

    def primary_of(self, about):
        name, part = next(iter(about["parts"].items()))
        return f"{name}: {tasks.primary(part)}"
