"""What rows of one table do not have in common, though a reader would think so: revision, width, data contents."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

from fusion_jax.results.store import Store
from fusion_jax.results.tables import Row

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
    return found


def revision(environment: dict[str, Any]) -> str:
    """The revision in words: its first digits, whether files had been changed; outside a checkout the version."""
    name = environment.get("git_revision")
    if name is None:
        return f"version {environment.get('versions', {}).get('fusion_jax') or 'unknown'}"
    return name[:10] + (" with changed files" if environment.get("git_dirty") else "")
