"""Writes down the default of every option that schema 2 had not, once: `python -m fusion_jax.study.freeze`.

What stands in `frozen.json` is never changed, only added to: an option counts in a cell's identity where it differs
from what stands there.
"""

from __future__ import annotations

import json
import pathlib

from fusion_jax import zoo
from fusion_jax.study.identity import SECTIONS

PATH = pathlib.Path(__file__).with_name("frozen.json")


def missing(frozen: dict) -> dict[str, dict]:
    """{kind/name: {option: default}} of the options that are not written down yet."""
    found: dict[str, dict] = {}
    for kind in sorted(set(SECTIONS.values())):
        for name in (name for name in zoo.names(kind) if not zoo.outside(kind, name)):
            own = f"{kind}/{name}"
            known = {*frozen["schema 2"]["options"].get(own, ()), *frozen["later"].get(own, ())}
            if new := {k: v for k, v in zoo.options(kind, name).items() if k not in known}:
                found[own] = new
    return found


def main() -> None:
    frozen = json.loads(PATH.read_text(encoding="utf-8"))
    new = missing(frozen)
    for own, options in new.items():
        frozen["later"].setdefault(own, {}).update(options)
    PATH.write_text(json.dumps(frozen, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{sum(map(len, new.values()))} options written down")


if __name__ == "__main__":
    main()
