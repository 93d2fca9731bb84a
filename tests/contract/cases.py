"""What the contract tests share: every mechanism of a kind, and every rule of it (`fusion_jax.checking`)."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import pytest

from fusion_jax import zoo
from fusion_jax.checking.base import in_words, rules


def each(kind: str) -> list:
    return [pytest.param(n, marks=pytest.mark.xdist_group(f"{kind}-{n}"), id=n) for n in zoo.names(kind)]


def each_rule(kind: str):
    """Parametrises a test by `name` and `rule`: every rule of the kind for every mechanism of it."""
    named = pytest.mark.parametrize("name", each(kind))
    ruled = pytest.mark.parametrize("rule", [pytest.param(rule, id=in_words(rule)) for rule in rules(kind)])
    return lambda test: ruled(named(test))


@functools.cache
def case(kind: str, name: str) -> Any:
    """The case of one mechanism, compiled once for all of its rules."""
    return importlib.import_module(f"fusion_jax.checking.{kind}").Case(name)
