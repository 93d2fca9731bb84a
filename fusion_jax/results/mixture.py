"""What rows of one table do not have in common, though a reader would think so.

Revision, width, data contents, and how their values were chosen.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

from fusion_jax.results.row import Row
from fusion_jax.results.store import Store

SHOWN = 4  # of more revisions the first so many are named


def notes(store: Store, group: Sequence[Row]) -> list[str]:
    """A sentence each for revisions of the code, widths D and data sets of one name that differ within a table."""
    revisions, widths, contents = (collections.Counter() for _ in range(3))
    for row in group:
        if not row.cell:
            continue
        costs, environments = store.costs(row.cell), store.environments(row.cell)
        revisions.update({revision(environment) for environment in environments})
        widths.update({cost["dim"] for cost in costs if "dim" in cost})
        contents.update({cost["data"] for cost in costs if "data" in cost})
    found = []
    if len(revisions) > 1:
        named = ", ".join(f"{name} ({count} rows)" for name, count in revisions.most_common(SHOWN))
        more = f" and {len(revisions) - SHOWN} more" if len(revisions) > SHOWN else ""
        found.append(f"Rows were trained at {len(revisions)} revisions of the code: {named}{more}.")
    if len(widths) > 1:
        named = ", ".join(f"{width} ({count} rows)" for width, count in sorted(widths.items()))
        found.append(f"Models differ in their width D: {named}.")
    if len(contents) > 1:
        found.append(f"Rows were trained on {len(contents)} data sets of this name, with other contents each.")
    return found + [note for note in [tuned_and_not(group)] if note]


def tuned_and_not(group: Sequence[Row]) -> str:
    """A sentence where some rows of a table are tuned and others not, or not with as many trials; "" else.

    A row that was tuned has had more chances than one that was not; so such rows do not compare as variants.
    """
    budgets = collections.Counter(row.trials for row in group if not row.published)
    if len(budgets) < 2:
        return ""
    words = {n: f"{n} trials ({count} rows)" if n else f"untuned ({count} rows)" for n, count in budgets.items()}
    named = ", ".join(words[n] for n in sorted(words, reverse=True))
    return f"Rows were not tuned alike, and do not compare as variants do: {named}."


def revision(environment: dict[str, Any]) -> str:
    """The revision in words: its first digits, whether files had been changed; outside a checkout the version."""
    name = environment.get("git_revision")
    if name is None:
        return f"version {environment.get('versions', {}).get('fusion_jax') or 'unknown'}"
    return name[:10] + (" with changed files" if environment.get("git_dirty") else "")
