"""Rules of every kind, read from the file without a number: its entry, its options, what it keeps."""

from __future__ import annotations

import inspect

from flax import nnx

from fusion_jax import zoo
from fusion_jax.checking.base import Advice, Broken, expect
from fusion_jax.records import NEEDS, Info

ALLOWED = {  # needs that a kind may have
    "fusion": {*NEEDS},
    "layer": {"graph", "edge_time", "labels"},
    "encoder": {"graph", "edge_time", "labels"},
    "readout": {"graph", "labels", "outputs"},
    "control": {"graph"},
}


def the_file_says_what_it_does(case):
    """The first line of its docstring, which catalogues print."""
    first = (zoo.module(case.kind, case.name).__doc__ or "").strip().split("\n")[0]
    if not first.endswith("."):
        raise Advice("no summary for catalogues", "begin the file with a docstring, its first line a sentence")


def it_has_an_entry_in_the_catalogue(case):
    where = "INFO = Info(...) in the file" if case.kind in ("loss", "merging") else "info = Info(...) in the class"
    info = zoo.info(case.kind, case.name)
    if not isinstance(info, Info):
        kind = Broken if inspect.isclass(case.mechanism) else Advice
        raise kind("Info missing", f'write {where}, such as Info("authors, title", year)')
    expect(info.paper, "Info names no paper", "cite what it is from; your own name will do")
    unknown = sorted(set(info.needs) - ALLOWED.get(case.kind, set()))
    expect(not unknown, f"needs={unknown} of a {case.kind}", f"of {sorted(ALLOWED.get(case.kind, ()))}")
    expect(case.kind == "fusion" or not info.modalities, "Info(modalities=...) is for fusions", "leave it out")


def its_options_are_keywords_with_defaults(case):
    """The arguments before the options are those the kind is given; an option stands behind the star."""
    positional, told = case.given
    call = case.mechanism.__init__ if inspect.isclass(case.mechanism) else case.mechanism
    parameters = [p for p in inspect.signature(call).parameters.values() if p.name != "self"]
    if inspect.isclass(case.mechanism) and call is object.__init__:
        return
    swallowed = [str(p) for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    expect(not swallowed, f"{', '.join(swallowed)} would swallow misspelt options", "name every option")
    first = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    extra = first[len(positional) :]
    expect(not extra, f"option {', '.join(extra)} can be given by position", "put it behind a star: *, name=default")
    expect(len(first) == len(positional), f"takes ({', '.join(first)})", f"a {case.kind} takes {positional}")
    bare = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name not in told]
    expect(not bare, f"option {', '.join(bare)} has no default", "give every option a default, the paper's")


def an_unknown_option_is_refused(case):
    try:
        zoo.check_options(case.kind, case.name, {"no_such_option": 1})
    except ValueError:
        return
    raise Broken("an option that it has not is taken", "name every option in the signature")


def it_keeps_no_random_state(case):
    """Randomness enters by the key of a call."""
    module = getattr(case, "module", None)
    if module is None:
        return
    for path, part in nnx.iter_modules(module):
        if any(isinstance(v, nnx.Rngs | nnx.RngStream | nnx.RngState) for v in vars(part).values()):
            where = ".".join(map(str, path)) or "self"
            if isinstance(part, nnx.Dropout):
                raise Broken(
                    f"nnx.Dropout ({where}) keeps state", "use fusion_jax.nn.dropout: dropout(x, rate, context.key)"
                )
            raise Broken(
                f"{type(part).__name__} ({where}) keeps random state",
                "build with rngs, keep none; draw with context.key (attention: fusion_jax.nn.attention)",
            )
