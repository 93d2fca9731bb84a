"""What can be said of a mechanism of any kind from its file: an entry, declarations that exist, options by keyword."""

import inspect

import numpy as np
import pytest

from fusion_jax import zoo
from fusion_jax.checking.declared import ALLOWED
from fusion_jax.records import NEEDS, Context, Target, check_needs
from tests.contract.cases import each
from tests.helpers import small_graph

PINNED = ("authors' code", "stand-in", "independent")
CALLS = {"merging": (("parents", "anchor"), ())}  # the arguments before the options, of kinds that are functions


@pytest.mark.parametrize("kind", list(zoo.KINDS))
def test_every_file_defines_a_mechanism_of_its_name_with_a_summary_and_an_entry(kind):
    for entry in (r for r in zoo.catalogue() if r["kind"] == kind):
        assert entry["summary"].endswith("."), entry["name"]
        assert entry["paper"], entry["name"]
        assert entry["pinned"] in PINNED, entry["name"]
        allowed = ALLOWED.get(kind, set())
        assert set(entry["needs"]) <= allowed, f"{kind} {entry['name']}: needs {entry['needs']}, of {sorted(allowed)}"
        assert kind == "fusion" or not entry["modalities"], entry["name"]


@pytest.mark.parametrize("kind", list(zoo.KINDS))
def test_an_option_that_does_not_exist_is_refused_by_name(kind):
    for name in zoo.names(kind):
        with pytest.raises(ValueError, match=f"{kind} {name!r} has no option 'no_such_option'"):
            zoo.check_options(kind, name, {"no_such_option": 1})


@pytest.mark.parametrize("kind", CALLS)
def test_functions_take_what_their_kind_is_given(kind):
    given, told = CALLS[kind]
    for name in zoo.names(kind):
        parameters = inspect.signature(zoo.get(kind, name)).parameters.values()
        assert tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD) == given, name
        rest = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        assert tuple(p.name for p in rest if p.default is p.empty) == told, name


@pytest.mark.parametrize("need", [need for need in NEEDS if need not in ("outputs", "targets")])
def test_a_need_is_enforced_by_name(need):
    """All but the outputs, which the constructor is given."""
    with pytest.raises(ValueError, match="fusion 'mine'"):
        check_needs("fusion 'mine'", (need,), None if need == "graph" else small_graph(4))


@pytest.mark.parametrize("level", ["graph", "link"])
def test_labels_that_are_not_of_nodes_reach_readouts_only(level):
    labels = np.zeros(3, np.int32)
    context = Context(target=Target("classes", num_outputs=2, level=level, labels=labels), train=labels == 0)
    with pytest.raises(ValueError, match=f"layer 'mine' needs a label a node, this data set labels {level}s"):
        check_needs("layer 'mine'", ("labels",), small_graph(4), context)
    check_needs("readout 'mine'", ("labels",), small_graph(4), context)


@pytest.mark.parametrize("name", each("analysis"))
def test_an_analysis_has_options_only_by_keyword(name):
    parameters = inspect.signature(zoo.get("analysis", name)).parameters.values()
    assert not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters)
