"""report.html: one file that opens anywhere, loads nothing and runs nothing (guarantees § Security 16, 17).

Three fences stand between a hostile guest's names and the reader: every expression of the template is made visible
and then escaped by the environment itself, so that no template can forget it; the page's own policy allows no script,
and of styles and pictures only those inside the file; and there is no link that leads out.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from drill import data
from drill.core.verdicts import judge
from drill.model.fact import Fact
from drill.reporting import page, plain, timeline

FILE: Final = "report.html"
_PICTURE: Final = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")


def render(facts: tuple[Fact, ...], last_hash: str, torn_bytes: int = 0) -> str:
    """The report on a record: its facts, the hash of its last line, the length of a torn last line."""
    content = page.build(facts, judge(facts), last_hash, torn_bytes)
    style = data.path("reports", "assets", "report.css").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template("report.html")
        .render(
            page=content,
            sizes=timeline,
            style=Markup(style),  # noqa: S704 - our own file, and the policy holds its hash
            policy=_policy(style),
        )
    )


def write(path: Path, text: str) -> None:
    """Write a report so that a reader sees the old one or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(data.path("reports", "templates")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["block"] = _block
    environment.filters["name"] = _name
    environment.filters["picture"] = _picture
    return environment


def _shown(value: object) -> object:
    """What the environment puts in place of every expression, before it escapes it."""
    return plain.line(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _block(text: str) -> Markup:
    """Several lines, for `<pre>`."""
    return escape(plain.block(text))


def _name(text: str) -> str:
    """A name where there is little room."""
    return plain.line(text, 80)


def _picture(uri: str) -> Markup:
    """A data: URI of a PNG, which is longer than any text may be; anything else becomes nothing."""
    return Markup(uri) if _PICTURE.fullmatch(uri) else Markup("")  # noqa: S704 - matched whole just before
