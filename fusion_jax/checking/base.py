"""What a rule is, and what is found when rules are asked of a mechanism.

A rule is a public function of one argument `case`, in the file of its kind (or in `declared.py`, for all kinds): it
returns where the mechanism keeps it, and raises `Broken` where it does not. Its name is what is printed.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pathlib
import re
import traceback
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from fusion_jax import zoo

Rule = Callable[[Any], None]
OK, FAILS, ADVICE, UNASKED = "ok", "fails", "advice", "not asked"


_WORDLESS = {SystemExit: "it ends the program"}


class Broken(Exception):
    """A rule that is not kept.

    Attributes:
        found: what was seen.
        do: what to do about it.
    """

    def __init__(self, found: str, do: str = ""):
        super().__init__(f"{found}: {do}" if do else found)
        self.found, self.do = found, do


class Advice(Broken):
    """A rule that mechanisms of the package keep, and that others do without."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One rule asked of one mechanism.

    Attributes:
        rule: in words.
        verdict: "ok"; "fails"; "advice", where it is better kept; or "not asked".
        found, do: what was seen and what to do about it; "" where the rule is kept.
    """

    rule: str
    verdict: str
    found: str = ""
    do: str = ""


def expect(kept: Any, found: str, do: str = "") -> None:
    """Raises `Broken` unless `kept`."""
    if not kept:
        raise Broken(found, do)


def kinds() -> list[str]:
    """The kinds that have rules: a file each."""
    here = {path.stem for path in pathlib.Path(__file__).parent.glob("*.py")}
    return [kind for kind in zoo.KINDS if kind in here]


def rules(kind: str) -> list[Rule]:
    """The rules of a kind, those of every kind first."""
    modules = (importlib.import_module(f"fusion_jax.checking.{name}") for name in ("declared", kind))
    return [rule for module in modules for rule in _rules(module)]


def _rules(module: ModuleType) -> Iterable[Rule]:
    for name, value in vars(module).items():
        own = inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if own and list(inspect.signature(value).parameters) == ["case"]:
            yield value


ENTRY = 'from fusion_jax.records import Info, and in the class: info = Info("authors, title", year)'


def in_words(rule: Rule) -> str:
    return rule.__name__.replace("_", " ")


def ask(make: Callable[[], Any], asked: Iterable[Rule], file: str) -> Iterable[Finding]:
    """Every rule asked of the case that `make` builds, of the mechanism in that file.

    An exception of the mechanism's own breaks the rule that meets it; those that meet the same one later are not asked.
    """
    asked, seen, case = list(asked), set(), None
    try:
        case = make()
        _build(case)
    except (Exception, SystemExit) as error:
        yield (finding := _failed("it can be built", error, file))
        if case is None:
            yield from (Finding(in_words(rule), UNASKED) for rule in asked)
            return
        seen.add(finding.found)
    for rule in asked:
        try:
            rule(case)
            yield Finding(in_words(rule), OK)
        except (Exception, SystemExit) as error:
            finding = _failed(in_words(rule), error, file)
            known = finding.found in seen
            seen.add(finding.found)
            yield Finding(finding.rule, UNASKED) if known else finding


def _build(case: Any) -> None:
    """Makes the module of a case that has one. Raises what it raises; of one that does not take what it is given, what
    to do."""
    if not hasattr(type(case), "module"):
        return
    try:
        _ = case.module
    except TypeError as error:
        takes = inspect.signature(case.mechanism.__init__).parameters
        missing = [name for name in case.given[1] if name not in takes]
        if not missing:
            raise
        signature = f"def __init__(self, {', '.join(case.given[0])}, *, {', '.join(case.given[1])})"
        raise Broken(f"TypeError: {error}", f"take {', '.join(missing)}: {signature}") from error


def _failed(rule: str, error: BaseException, file: str) -> Finding:
    """What an error says; of one that is not the package's own its type, and the line of the file that led to it."""
    if isinstance(error, Broken):
        return Finding(rule, ADVICE if isinstance(error, Advice) else FAILS, error.found, error.do)
    if isinstance(error, AttributeError) and error.name == "info" and inspect.isclass(error.obj):
        return Finding(rule, FAILS, f"{error.obj.__name__} has no info", f"write {ENTRY}")
    words = str(error).strip() or _WORDLESS.get(type(error), "no words")
    said = re.sub(r" \(https?://\S+\)", "", words.splitlines()[0])
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    what = said if isinstance(error, ValueError) and not lines else f"{type(error).__name__}: {said}"
    return Finding(rule, FAILS, f"{what:.300}", f"see {pathlib.Path(file).name}, line {lines[-1]}" if lines else "")
