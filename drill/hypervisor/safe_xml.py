"""XML read with bounds: no DOCTYPE (so no entities to bomb or to fetch with), limited size, depth and count."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from drill.errors import BadInput

SIZE_MAX = 1024 * 1024
DEPTH_MAX = 4096
"""libvirt nests a running domain's backing chain, one level per recovery point beneath its disk."""
ELEMENTS_MAX = 20_000


class _Refusal(Exception):
    """Carries a sentence out of the parser's callbacks."""


class _Builder(ET.TreeBuilder):
    """A tree builder that stops at a DOCTYPE and at the bounds."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._count = 0

    def doctype(self, _name: str, _pubid: str | None, _system: str | None) -> None:
        """Called at `<!DOCTYPE`, before anything in it is looked at."""
        raise _Refusal("it has a DOCTYPE")

    def start(self, tag: str, attrs: dict[str, str], /) -> ET.Element:
        """Count, then build."""
        self._depth += 1
        self._count += 1
        if self._depth > DEPTH_MAX:
            raise _Refusal(f"elements are nested more than {DEPTH_MAX} deep")
        if self._count > ELEMENTS_MAX:
            raise _Refusal(f"more than {ELEMENTS_MAX} elements")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ET.Element:
        """Count back, then build."""
        self._depth -= 1
        return super().end(tag)


def read(text: str, *, where: str) -> ET.Element:
    """The root element of `text`; BadInput (naming `where`) when it is malformed or beyond the bounds."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput(where=where, problem="it is not Unicode text") from None
    if len(data) > SIZE_MAX:
        raise BadInput(where=where, problem=f"{len(data)} bytes are more than {SIZE_MAX}")
    parser = ET.XMLParser(target=_Builder(), encoding="utf-8")  # noqa: S314 - a DOCTYPE is refused
    try:
        parser.feed(data)
        root: ET.Element = parser.close()
    except _Refusal as refusal:
        raise BadInput(where=where, problem=str(refusal)) from None
    except ET.ParseError as error:
        raise BadInput(where=where, problem=f"malformed XML: {error}") from None
    return root
