"""The ledger of claims as a page in Markdown, and for programs."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import numpy as np

from fusion_jax import metrics, zoo
from fusion_jax.results.claims import UNDECIDED, p_text
from fusion_jax.results.ledger import Compared, Ledger, Line
from fusion_jax.results.rendering.claims import as_dict
from fusion_jax.results.rendering.markdown import plain
from fusion_jax.study import Claim

HEAD = "system|claim|result|asked|difference [interval]|p|p (Holm)|parameters|s a trial|seeds|min".split("|")
FOOT = (
    "A claim holds where the difference of its two rows, paired by seed, is significantly on its side of what it says "
    "(5 %, after Holm's correction over all claims here), fails where it is significantly on the other, and is "
    "undecided else. Undecided may be a claim whose own interval lies on one side: among so many claims chance alone "
    "brings some. Asked is how far the difference has to be to one side, or how near to 0. Intervals are 95 %, of that "
    "claim alone, and so is the first p, which is of the side that the difference is on. Parameters and seconds of a "
    "trial (training, without compilation) are those of the row that is claimed to be better or as good, and of the "
    "other; min is what the whole study took. Every claim was hashed into its study before the first epoch unless its "
    "line says otherwise."
)


def markdown(found: Ledger, *, title: str = "The ledger of claims", date: str = "", beside: str = "") -> str:
    """The page: one sentence, the table, what every setting is.

    Args:
        date: when it was made, "" to leave it out.
        beside: the folder that it will lie in: files in it are linked by their names alone.
    """
    made = ", ".join(filter(None, [date, _revisions(found), "; ".join(found.machines)]))
    lines = [f"# {title}", "", plain(found.sentence), *(["", plain(f"Made {made}.")] if made else [])]
    lines += ["", "| " + " | ".join(HEAD) + " |", "|" + " --- |" * len(HEAD), *map(_row, found.lines), "", FOOT]
    if found.lacking:
        lines += ["", "Not in the table:", *(f"- {plain(name)}: {plain(why)}" for name, why in found.lacking.items())]
    lines += ["", "## Settings"]
    for study in {line.study.system: line.study for line in found.lines}.values():
        own = [line for line in found.lines if line.study is study]
        lines += ["", f"### [{plain(study.system)}]({_link(study.path, beside)})", "", _papers(own[0])]
        lines += [plain(study.setting), ""]
        lines += [f"- {plain(line.answered.text)}: **{line.answered.verdict}**{_rest(line)}" for line in own]
        hashed = f"sha256 {own[0].sha256[:12]}, {own[0].written}"
        lines += ["", plain(f"Claims hashed: {hashed}.")] + [f"- {plain(text)}" for text in own[0].changed]
    return "\n".join(lines) + "\n"


def as_json(found: Ledger, *, date: str = "") -> str:
    """The same for programs; null for what is not there."""
    lines = [
        as_dict(line.answered)
        | dict(
            system=line.study.system,
            file=pathlib.Path(line.study.path).name,
            setting=line.study.setting,
            sha256=line.sha256,
            written=line.written,
            changed=list(line.changed),
            seconds=line.seconds,
            compared=[_plain(one) for one in line.compared],
        )
        for line in found.lines
    ]
    about = dict(date=date, sentence=found.sentence, revisions=found.revisions, machines=found.machines)
    return json.dumps(_finite(about | dict(lacking=found.lacking, claims=lines)), indent=1)


def _row(line: Line) -> str:
    one = line.answered
    late = f" (written when {one.late} seeds had finished or begun)" if one.late else ""
    cells = [
        plain(line.study.system),
        plain(one.text) + late,
        f"**{one.verdict}**",
        "; ".join(dict.fromkeys(_asked(one.claim, c.metric) for c in line.compared)) or "-",
        "; ".join(_difference(c, _quantity(line, c)) for c in line.compared) or "-",
        "-" if np.isnan(one.p) else p_text(one.p).removeprefix("= "),
        "-" if np.isnan(one.adjusted) else p_text(one.adjusted).removeprefix("= "),
        _both(line, lambda row: row.parameters, "{:,}"),
        _both(line, lambda row: row.seconds, "{:.2f}"),
        ", ".join(dict.fromkeys(str(c.seeds) for c in line.compared)) or "-",
        f"{line.seconds / 60:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _asked(claim: Claim, metric: str) -> str:
    """What the difference has to be where the claim holds."""
    if claim.equivalent:
        return f"±{claim.equivalent:g}"
    sign = metrics.sign(metric)
    return f"{'>' if sign > 0 else '<'} " + (f"{sign * claim.by:+g}" if claim.by else "0")


def _quantity(line: Line, one: Compared) -> str:
    """What is compared: the metric, or what the study says that its measured rows are."""
    own = one.better.variant in line.study.measured and line.study.quantity
    return own or metrics.heading(one.metric)


def _difference(one: Compared, quantity: str) -> str:
    digits = metrics.named(one.metric).digits
    interval = "" if np.isnan(one.low) else f" [{one.low:+.{digits}f}, {one.high:+.{digits}f}]"
    value = "-" if np.isnan(one.mean) else f"{one.mean:+.{digits}f}{interval}"
    return f"{plain(quantity)} {value}"


def _both(line: Line, of: Any, form: str) -> str:
    pairs = [tuple("-" if (v := of(r)) is None else form.format(v) for r in (c.better, c.than)) for c in line.compared]
    return "; ".join(dict.fromkeys(" / ".join(pair) for pair in pairs)) or "-"


def _rest(line: Line) -> str:
    one = line.answered
    more = f" About {one.more_seeds} more seeds would decide it." if one.verdict == UNDECIDED and one.more_seeds else ""
    return f": {plain(one.evidence)}.{more}"


def _papers(line: Line) -> str:
    entries = [zoo.info(kind, name) for kind, name in line.study.of]
    told = dict.fromkeys(f"{entry.paper}, {entry.year}" for entry in entries if entry is not None)
    return plain("; ".join(told)) + ". " if told else ""


def _revisions(found: Ledger) -> str:
    known = [revision[:10] for revision in found.revisions if revision]
    return f"revision {', '.join(known)}" if known else ""


def _link(path: str, beside: str) -> str:
    inside = bool(beside) and pathlib.Path(path).resolve().parent == pathlib.Path(beside).resolve()
    return pathlib.Path(path).name if inside else os.fspath(path)


def _plain(one: Compared) -> dict[str, Any]:
    ends = dict(mean=one.mean, low=one.low, high=one.high, seeds=one.seeds)
    return dict(data=one.better.data, better=one.better.name, than=one.than.name, metric=one.metric) | ends


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
