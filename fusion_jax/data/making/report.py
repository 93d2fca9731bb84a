"""What became of a user's tables: what was joined, dropped, made and doubtful, to be printed and to be asked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

SHOWN = 3  # examples that a line names


@dataclasses.dataclass
class Conversion:
    """The report of one conversion, written while it is made.

    Attributes:
        source: what was read, in words.
        lines: what was done, a sentence each.
        warnings: what looks like a mistake, a sentence each; () where nothing does.
        facts: the numbers behind both, as JSON: rows, joined, dropped, edges, homophily, ...
    """

    source: str
    lines: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    def say(self, line: str, **facts: Any) -> None:
        """Adds a line, and the numbers it tells of."""
        self.lines.append(line)
        self.facts |= facts

    def warn(self, line: str, **facts: Any) -> None:
        """Adds a warning, and the numbers it rests on."""
        self.warnings.append(line)
        self.facts |= facts

    def text(self) -> str:
        """The whole report, a line each; warnings last. What a terminal would obey is written out."""
        lines = [self.source, *(f"  {line}" for line in self.lines), *(f"  WARNING: {line}" for line in self.warnings)]
        return "\n".join(map(_printable, lines))

    def json(self) -> str:
        """Source, lines, warnings and facts as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1)


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def some(names: Iterable[Any], shown: int = SHOWN) -> str:
    """The first few of several names: "'a', 'b', 'c', ..."."""
    names = list(names)
    return ", ".join(map(repr, map(str, names[:shown]))) + (", ..." if len(names) > shown else "")


def count(number: int, what: str, many: str = "") -> str:
    """ "1 row", "1,200 rows"; `many` where the plural has no s."""
    return f"{number:,} {what if number == 1 else many or what + 's'}"
