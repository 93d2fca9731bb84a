"""What a study claimed and what its results say, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusion_jax.results.claim_record import stated
from fusion_jax.results.claims import UNDECIDED, Answered
from fusion_jax.results.rendering.markdown import plain


def render(answered: Sequence[Answered], study: Mapping[str, Any], said: Sequence[str]) -> str:
    """A line a claim below a heading that says when they were written, then what was changed since; "" for none.

    Args:
        study: `Store.read_study()`.
        said: of `claim_record.changes`.
    """
    if not answered and not said:
        return ""
    about = stated(study)
    before = "before the first epoch" if not any(one.late for one in answered) else "of which some came late"
    lines = [f"Claims, {before} (sha256 {about['sha256'][:12]}, {about['written']}):", ""]
    lines += [_line(one) for one in answered]
    return "\n".join(lines + [f"- {plain(text)}" for text in said]) + "\n"


def _line(one: Answered) -> str:
    late = f" (written when {one.late} seeds had finished or begun)" if one.late else ""
    more = f" About {one.more_seeds} more seeds would decide it." if one.verdict == UNDECIDED and one.more_seeds else ""
    return f"- **{one.verdict}**: {plain(one.text)}{late}: {plain(one.evidence)}.{more}"


def as_dict(one: Answered) -> dict[str, Any]:
    """A claim with its answer, but for the rows, as plain values."""
    fields = ("text", "verdict", "evidence", "more_seeds", "p", "adjusted", "late")
    return {name: getattr(one, name) for name in fields}
