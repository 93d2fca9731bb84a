"""BibTeX entries of what a study used, from the catalogue and the data sets' sources: every field is read there.

A field that the catalogue does not tell is left out; of folklore and of data made on the spot there is a comment.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fusion_jax import plan, tasks, zoo
from fusion_jax.plan import ModelPlan, Plan
from fusion_jax.results.rendering.tex_text import tex

NAME = r"[A-Z][\w'’-]+"
NAMES = rf"{NAME}(?:, {NAME})*(?:,? and {NAME})?(?: et al\.)?"
AUTHORS = re.compile(rf"({NAMES}), (?=\S)|({NAMES}) (?=\d{{4}})")  # "A et al., Title", "A, B and C 2013"
ARXIV = re.compile(r"arXiv[:\s]*(\d{4}\.\d{4,5})")
DOI = re.compile(r"10\.\d{4,9}/[^\s;,)]+")
YEAR = re.compile(r"\b(?:19|20)\d\d\b")
MADE = ("Folklore", "Control:", "Example", "made here", "the user's own", "none")  # how what has no paper begins


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry: its kind ("misc", "article"), its fields in their order, and what of the study it is for."""

    key: str
    kind: str
    fields: Mapping[str, str]
    used: str

    def text(self) -> str:
        """The entry, below a comment that says what it is for."""
        lines = [f"  {name} = {{{_value(name, value)}}}," for name, value in self.fields.items()]
        return "\n".join([f"% {self.used}", f"@{self.kind}{{{self.key},", *lines, "}", ""])


def _value(name: str, value: str) -> str:
    if name in ("url", "eprint", "archiveprefix", "year", "doi"):
        return value
    # braces keep the capitals of a title, which styles make small
    return "{" + tex(value) + "}" if name == "title" else tex(value)


def bibtex(study: Mapping[str, Any], predicted: Mapping[str, str] | None = None) -> str:
    """The file of a study (`Store.read_study`): an entry a paper, in the order of their keys, with what it is for.

    Args:
        predicted: {cell: kind of task}, of those where it is known: the loss is the task's where a cell names none.
    """
    made, without, known = [], [], predicted or {}
    for kind, name in used([(plan.of(cell["config"]), known.get(cell.get("id", ""), "")) for cell in study["cells"]]):
        source, year, docs = _source(kind, name)
        what = f"{kind} {zoo.short(name)}"
        if not source or source.startswith(MADE):
            without.append(f"% {what}: {' '.join((source or 'no source is stated').split())}")
        else:
            made.append(entry(source, year, docs, what, data=kind == "data"))
    texts = [e.text() for e in _distinct(made)]
    return "\n".join([*texts, *sorted(without)]).rstrip() + "\n"


def used(cells: Iterable[tuple[Plan, str]]) -> list[tuple[str, str]]:
    """Kind and name of every mechanism and data set of these cells, (plan, task or ""), each once, by kind.

    Also those that a mechanism brings along: the loss of a fusion of predictions, or of the task, and whatever one's
    file takes from another's.
    """
    waiting = [pair for one, task in cells for pair in _of(one, task)]
    found = dict.fromkeys(waiting)
    while waiting:
        new = [pair for pair in _uses(*waiting.pop()) if pair not in found]
        found |= dict.fromkeys(new)
        waiting += new
    order = ["data", *zoo.KINDS]
    return sorted(found, key=lambda pair: (order.index(pair[0]), pair[1]))


def _of(one: Plan, task: str) -> Iterator[tuple[str, str]]:
    yield "data", one.data.name
    if one.control.name:
        yield "control", one.control.name
        return
    model = one.model
    parts = dict(fusion=model.fusion, layer=model.layer, encoder=model.encoder, readout=model.readout, loss=one.loss)
    if model.mixer.name != "standard":
        parts["mixer"] = model.mixer
    yield from ((kind, part.name) for kind, part in parts.items() if part.name)
    yield from (("loss", name) for name in one.loss.extra)
    if one.scheme.name:
        yield "scheme", one.scheme.name
    if not one.loss.name and (brought := _usual_loss(model, task)):
        yield "loss", brought


def _usual_loss(model: ModelPlan, task: str) -> str:
    """The loss where a cell names none; "" where it is not known."""
    with contextlib.suppress(ValueError, OSError):  # a file outside that is gone
        own = zoo.get("fusion", model.fusion.name).loss if model.placement == "decision" else ""
        return own or (tasks.of(task).loss if task else "")
    return ""


def _uses(kind: str, name: str) -> list[tuple[str, str]]:
    if kind == "data":
        return []
    with contextlib.suppress(ValueError, OSError):
        return [(other, its) for other, its in zoo.uses(kind, name) if other in zoo.KINDS]
    return []


def _source(kind: str, name: str) -> tuple[str, int, str]:
    """What is to be cited, its year or 0, and the docstring beside it; "" of what is not there any more."""
    try:
        module = zoo.module(kind, name)
        held = zoo.info(kind, name) if kind != "data" else None
    except (ValueError, OSError):  # a file outside that is gone, an entry point that is not installed
        return "", 0, ""
    if kind == "data":
        return getattr(module, "SOURCE", ""), 0, ""
    return (held.paper, held.year, module.__doc__ or "") if held else ("", 0, "")


def entry(source: str, year: int, docs: str, used_for: str, *, data: bool = False) -> Entry:
    """The entry of a paper, or of a data set, told in words: "Arevalo et al., Gated Multimodal Units" and 2017.

    Args:
        docs: the docstring beside it, whose arXiv number is the paper's where it names the same work and no other
            number.
    """
    source = " ".join(source.split())
    work, _, more = source.partition("; ")
    given = AUTHORS.match(work)
    authors = re.sub(r",? et al\.", " and others", (given[1] or given[2]).strip()) if given else ""
    authors = re.sub(r", and |, | and (?!others)", " and ", authors)
    title = work[given.end() :] if given else work
    told = YEAR.search(title) if data or more else re.search(r", (\d{4})$", title)
    when = told[0].lstrip(", ") if told else str(year or "")
    title = (
        re.sub(r",? *\(?(?:19|20)\d\d\)?$", "", title) if not data else f"{used_for.removeprefix('data ')} (data set)"
    )
    fields = dict(title=title, author=authors, year=when)
    if number := ARXIV.search(source) or _number(docs, authors or title):
        fields |= dict(eprint=number[1], archiveprefix="arXiv", url=f"https://arxiv.org/abs/{number[1]}")
    if doi := DOI.search(source):
        fields["doi"] = doi[0].rstrip(".")
    fields["note"] = source if data else more
    return Entry(_key(authors, when, title, data), "misc", {k: v for k, v in fields.items() if v}, used_for)


def _key(authors: str, when: str, title: str, data: bool) -> str:
    """ "arevalo2017gated"; without authors two words of the title, "mefn2024multimodal"; "digits1998" of data."""
    words = [w for w in re.findall(r"[^\W\d][\w-]+", title) if len(w) > 3 or w.isupper()] or ["untitled"]
    first = re.split(r" and ", authors)[0].split()[-1] if authors and not data else words[0]
    rest = [] if data else words[: 1 if authors else 2][-1:]
    return "".join(_slug(part) for part in (first, when, *(word for word in rest if word != first)))


def _number(docs: str, work: str) -> re.Match | None:
    numbers = {m[1]: m for m in ARXIV.finditer(docs)}
    name = re.split(r"[\s,:]", work)[0]
    return next(iter(numbers.values())) if len(numbers) == 1 and name and name in docs else None


def _slug(text: str) -> str:
    made = tex(text).lower()
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\\[a-z]{1}\{(\w)\}", r"\1", made))


def _distinct(made: Sequence[Entry]) -> list[Entry]:
    """An entry a work, for all that it is used for; two works of one key are told apart by a letter."""
    works: dict[tuple[str, str], Entry] = {}
    for e in made:
        plain = re.sub(r" \([^)]*\)$", "", e.fields["title"])  # "(sum rule)": what of the work is meant
        kept = works.get((e.key, plain))
        if kept is not None:
            fields = {**kept.fields, **({} if e.fields["title"] == kept.fields["title"] else dict(title=plain))}
            e = dataclasses.replace(kept, fields=fields, used=f"{kept.used}, {e.used}")
        works[e.key, plain] = e
    found = []
    for key in sorted({e.key for e in works.values()}):
        own = sorted((e for e in works.values() if e.key == key), key=lambda e: e.fields["title"])
        letters = [""] if len(own) == 1 else [chr(ord("a") + i) for i in range(len(own))]
        found += [dataclasses.replace(e, key=key + letter) for e, letter in zip(own, letters, strict=True)]
    return found
