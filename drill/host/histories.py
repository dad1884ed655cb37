"""Histories of writers outside the guests, as files of the machine on which the controller runs."""

from __future__ import annotations

from pathlib import Path

from drill.errors import BadInput, Failed

HISTORY_BYTES_MAX = 256 << 20
"""Four million rows; a writer that has more begins a new table and history."""


class LocalHistories:
    """The Histories port over files."""

    def read(self, path: str) -> bytes:
        """The file's content."""
        try:
            with Path(path).open("rb") as file:
                content = file.read(HISTORY_BYTES_MAX + 1)
        except OSError as error:
            raise Failed(action=f"reading the history {path}", cause=str(error)) from error
        if len(content) > HISTORY_BYTES_MAX:
            raise BadInput(where=path, problem=f"over {HISTORY_BYTES_MAX} bytes")
        return content
