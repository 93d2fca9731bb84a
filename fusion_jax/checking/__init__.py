"""The contract, asked of one mechanism: of the package, or in a file of one's own.

    fusion-jax check mine.py

`check` asks every rule of the mechanism's kind and says of each whether it is kept, and what to do where it is not.
`tests/contract` asks the same rules of every mechanism in the package.
"""

from __future__ import annotations

import importlib

from fusion_jax import zoo
from fusion_jax.checking.base import Finding, ask, kinds, rules
from fusion_jax.checking.kind import kind_of

__all__ = ["Finding", "check", "kind_of", "kinds"]


def check(name: str, kind: str = "") -> list[Finding]:
    """Every rule of its kind, asked of a mechanism.

    Args:
        name: the path of a file, or a name in the catalogue.
        kind: of the kinds that have rules; told by the class or the function in the file if "".
    Raises:
        FileNotFoundError: no such file.
        ValueError: the file cannot be executed (names the line), defines no mechanism of its name or one whose kind
            cannot be told, or has a kind without rules or another one than `kind`.
    """
    kind = kind_of(name, kind)
    if kind not in kinds():
        raise ValueError(f"no rules for the kind {kind!r}{zoo.nearest(kind, kinds())}; there are: {', '.join(kinds())}")
    zoo.get(kind, name)  # that it is not there is a mistake of the call
    case = importlib.import_module(f"fusion_jax.checking.{kind}").Case
    return list(ask(lambda: case(name), rules(kind), zoo.module(kind, name).__file__))
