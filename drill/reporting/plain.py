r"""Text from elsewhere, made safe to look at: in a report, in a terminal, in JUnit (guarantees § Security 16, 17).

A guest chooses its names and what it prints.  Whatever would move the cursor, turn the direction of reading, hide, or
pile up on its neighbours is spelled out: `\x1b`, `\u202e`, `\u200b`.  Letters of every script stay what they are.
"""

from __future__ import annotations

import unicodedata
from typing import Final

LINE_MAX: Final = 600
BLOCK_MAX: Final = 20_000
MARKS_MAX: Final = 2  # combining marks on one letter; the languages of the world need two

# Cc control, Cf format (bidi, zero width, tags), Cs half characters, Co private, Cn none, Zl and Zp line ends.
_SPELLED_OUT: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKS: Final = frozenset({"Mn", "Me"})
_BLANKS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and symbols that show nothing


def visible(text: str, *, newlines: bool = False) -> str:
    """The text with everything that would not be seen as itself spelled out; newlines and tabs stay on request."""
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in _MARKS else 0
        if newlines and character in "\n\t":
            shown.append(character)
        elif category in _SPELLED_OUT or character in _BLANKS or marks > MARKS_MAX:
            shown.append(character.encode("unicode_escape").decode("ascii"))
        else:
            shown.append(character)
    return "".join(shown)


def line(text: str, most: int = LINE_MAX) -> str:
    """One line of at most about `most` characters; what is left out is counted."""
    return visible(_cut(text, most))


def block(text: str, most: int = BLOCK_MAX) -> str:
    """Several lines of at most about `most` characters; what is left out is counted."""
    return visible(_cut(text.replace("\r\n", "\n"), most), newlines=True)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"
