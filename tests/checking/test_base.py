"""How rules are asked: in order, an error once, and what is said of it."""

import pytest

from fusion_jax.checking import base, compared
from fusion_jax.checking.base import ADVICE, FAILS, OK, UNASKED, Advice, Broken, Finding, ask


def kept(case):
    pass


def broken(case):
    raise Broken("seen", "do this")


def advised(case):
    raise Advice("better otherwise")


def raises(case):
    raise KeyError("a key\nand a second line")


def refused(case):
    raise ValueError("its own words (https://example.org/why)")


def test_every_rule_is_asked_in_its_order_and_an_error_is_said_once():
    findings = list(ask(lambda: None, [kept, broken, advised, raises, raises, kept], "elsewhere.py"))
    assert findings == [
        Finding("kept", OK),
        Finding("broken", FAILS, "seen", "do this"),
        Finding("advised", ADVICE, "better otherwise"),
        Finding("raises", FAILS, r"KeyError: 'a key\nand a second line'"),
        Finding("raises", UNASKED),
        Finding("kept", OK),
    ]


def test_an_error_in_the_file_names_its_line():
    line = raises.__code__.co_firstlineno + 1
    (finding,) = ask(lambda: None, [raises], __file__)
    assert finding.do == f"see test_base.py, line {line}"
    (finding,) = ask(lambda: None, [refused], __file__)
    assert finding.found == "ValueError: its own words"
    (finding,) = ask(lambda: None, [refused], "elsewhere.py")
    assert finding.found == "its own words" and finding.do == "", "an error of the package speaks for itself"


def test_what_cannot_be_built_is_asked_nothing():
    def make():
        raise TypeError("no argument")

    findings = list(ask(make, [kept, broken], "elsewhere.py"))
    assert findings == [
        Finding("it can be built", FAILS, "TypeError: no argument"),
        Finding("kept", UNASKED),
        Finding("broken", UNASKED),
    ]


class Unbuilt:
    """A case whose module fails as it is built."""

    given = ("dim",), ("rngs",)

    def __init__(self, mechanism):
        self.mechanism = mechanism

    @property
    def module(self):
        return self.mechanism(3, rngs=None)


def uses(case):
    return case.module


class Without:
    def __init__(self, dim):
        pass


class Ends:
    def __init__(self, dim, *, rngs):
        raise SystemExit


def test_a_module_that_cannot_be_built_breaks_no_rule_beside():
    findings = list(ask(lambda: Unbuilt(Without), [kept, uses, uses], "elsewhere.py"))
    said = "TypeError: Without.__init__() got an unexpected keyword argument 'rngs'"
    assert findings == [
        Finding("it can be built", FAILS, said, "take rngs: def __init__(self, dim, *, rngs)"),
        Finding("kept", OK),
        Finding("uses", UNASKED),
        Finding("uses", UNASKED),
    ]
    ended = next(iter(ask(lambda: Unbuilt(Ends), [uses], "elsewhere.py")))
    assert ended == Finding("it can be built", FAILS, "SystemExit: it ends the program")


def test_every_kind_begins_with_the_rules_of_all_kinds():
    shared = [rule.__name__ for rule in base.rules("loss") if rule.__module__.endswith("declared")]
    for kind in base.kinds():
        names = [rule.__name__ for rule in base.rules(kind)]
        assert names[: len(shared)] == shared and len(names) > len(shared) + 1 and len(set(names)) == len(names)


def test_close_says_how_far():
    compared.close([1.0, 2.0], [1.0, 2.0 + 1e-5])
    with pytest.raises(Broken, match="other numbers .they differ by up to 0.5"):
        compared.close([1.0, 2.5], [1.0, 2.0])
    with pytest.raises(Broken, match=r"shape \(2,\) instead of \(3,\)"):
        compared.close([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(Broken):
        compared.close([float("nan")], [1.0])
