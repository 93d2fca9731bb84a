"""The page of a study: one HTML file that needs nothing but a browser, and recalculates as its reader asks.

The parts lie beside this file: `index.html` is the frame, `page.css` how it looks, the scripts what it does. They are
put together with the study's data as one file. A script is a part of one scope, in the order of `SCRIPTS`; each says
in its first lines what it is for.

Nothing of the study is ever read as markup: it travels as JSON in which `<`, `>` and `&` are escaped, and the scripts
write text, never HTML. A content security policy names the one style and the one script by their digests and allows
nothing else, neither to load nor to send.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fusion_jax.results import page_data
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store

SCRIPTS = (
    *("statistics", "study", "compare", "dom", "export", "tables", "charts", "figures", "cells"),
    *("answer", "controls", "differences", "overview", "follow", "main"),
)


def render(store: Store, found: Sequence[Row] | None = None, **made: Any) -> bytes:
    """The page of a study, as far as it has come.

    Args:
        found, made: as of `page_data.collect`.
    Raises:
        FileNotFoundError: the folder holds no study.
    """
    return assemble(page_data.collect(store, found, **made))


def assemble(data: Mapping[str, Any], *, served: bool = False) -> bytes:
    """The page of what `page_data.collect` returned.

    Args:
        served: it asks for /data.json beside it, every other second, and shows what has changed.
    """
    style, script = _part("page.css"), "\n".join(["'use strict';", *(_part(f"{name}.js") for name in SCRIPTS)])
    script = "(() => {\n" + script + "\n})();"
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'" + "; connect-src 'self'" * served
    )
    filled = dict(policy=policy, style=style, script=script, data=as_text(data), served=str(served).lower())
    filled["sentence"] = html.escape(data["sentence"])
    return re.sub(r"{{(\w+)}}", lambda found: filled[found[1]], _part("index.html")).encode()


def as_text(data: Mapping[str, Any]) -> str:
    """JSON of ASCII that ends no script: `<`, `>` and `&` are escaped as well."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _part(name: str) -> str:
    return importlib.resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
