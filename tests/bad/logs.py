"""Cycle logs made by a recipe, byte by byte as docs/formats.md has them, with whatever is to be wrong.

Shares nothing with drill's writer: what is right here is right by the document.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import zstandard
from blake3 import blake3

PAGE = 4096
KINDS = {"data": 0, "zero": 1}
Recipe = Mapping[str, Any]
Disks = dict[str, bytearray]


class Log:
    """A log in its parts, so that a recipe can name one; `end` is added last."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, bytes]] = []

    def add(self, name: str, data: bytes) -> None:
        self.parts.append((name, data))

    def whole(self) -> bytes:
        return b"".join(data for _, data in self.parts)

    def digest(self, data: bytes = b"") -> bytes:
        """BLAKE3 of everything but what the frames' own digests cover; of `data`, when that was spoiled since."""
        data, at, covered = data or self.whole(), 0, []
        for name, part in self.parts:
            if name != "end" and name.rpartition(" ")[2] not in ("table", "leaves", "payload"):
                covered.append(data[at : at + len(part)])
            at += len(part)
        return blake3(b"".join(covered)).digest()

    def place(self, name: str) -> int:
        """Where a part begins."""
        names = [part for part, _ in self.parts]
        return sum(len(data) for _, data in self.parts[: names.index(name)])


def made(recipe: Recipe, header: dict[str, Any], content: Disks) -> bytes:
    """The log that a recipe describes; `header` and `content` (what each disk held before) are the sound ones.

    header        changes to the header          header_text   its text as it stands, instead of JSON
    prologue      [magic, version, flags]        frames        a list of frames (see `_frame`)
    trailer       changes to its first disk      trailer_text  its text as it stands
    twice         a part that comes twice        without       a part that is left out
    flip          [part, bit]                    resealed      whether the log's digest is right for the flipped log
    cut           [part, bytes]: nothing comes after so many bytes of it
    append        hex that comes after the end
    """
    log = Log()
    magic, version, flags = recipe.get("prologue", ["DRILLCYC", 1, 0])
    log.add("prologue", struct.pack("<8sHH", magic.encode(), version, flags))
    shown = {**header, **recipe.get("header", {}), **recipe.get("log_header", {})}
    text = recipe.get("log_header_text", recipe.get("header_text"))
    _json(log, "header", 1, text_of(text) if text is not None else json.dumps(shown).encode())
    for number, frame in enumerate(recipe.get("frames", [{"extents": [[0, PAGE, "data"]]}])):
        _frame(log, f"frame {number}", frame, content)
    seals = [
        {"target": disk["target"], "size_bytes": disk["size_bytes"], "digest": root(content.get(disk["target"], b""))}
        for disk in header["disks"]
    ]
    seals[0].update(recipe.get("trailer", {}))
    text = recipe.get("trailer_text")
    _json(log, "trailer", 3, text_of(text) if text is not None else json.dumps({"disks": seals}).encode())
    return _spoiled(log, recipe)


def text_of(text: str | Mapping[str, Any]) -> bytes:
    """A text as it stands, or {"repeat": [text, times], "before": …, "after": …}."""
    if isinstance(text, str):
        return text.encode()
    part, times = text["repeat"]
    return str(text.get("before", "") + part * times + text.get("after", "")).encode()


def root(content: bytes | bytearray) -> str:
    """The content digest of a disk (docs/formats.md, page digests)."""
    leaves = []
    for start in range(0, len(content), PAGE):
        page = bytes(content[start : start + PAGE])
        leaves.append(blake3(page).digest(16) if any(page) else bytes(16))
    chunks = []
    for start in range(0, len(leaves), 4096):
        table = b"".join(leaves[start : start + 4096]).ljust(4096 * 16, b"\0")
        chunks.append(blake3(table).digest() if any(table) else bytes(32))
    return blake3(b"drill disk 0\0" + len(content).to_bytes(8, "little") + b"".join(chunks)).hexdigest()


def _json(log: Log, name: str, kind: int, text: bytes) -> None:
    log.add(f"{name} record", struct.pack("<BBHIII32s", kind, 0, 0, 0, len(text), len(text), blake3(text).digest()))
    log.add(f"{name} text", text)


def _frame(log: Log, name: str, frame: Recipe, disks: Disks) -> None:
    """One frame: `disk`, `extents` ([offset, length, kind], their bytes random by `seed`), and claims that may lie.

    Claims: `count`, `content_length`, `stored_length`, `codec`, `kind`, `digest`.  `payload` replaces what is stored:
    {"zstd_zeros": bytes}, {"zstd_unsized": bytes} (a stream that does not say how much it holds) or {"hex": …}.
    """
    index, extents = frame.get("disk", 0), frame.get("extents", [])
    if isinstance(extents, Mapping):
        extents = [[n * PAGE, PAGE, "zero"] for n in range(extents["zero_pages"])]
    table = b"".join(struct.pack("<QQB", at, length, KINDS.get(kind, kind)) for at, length, kind in extents)
    body = b"" if "content_length" in frame else _body(extents, frame.get("seed", 1))
    if list(disks)[index : index + 1]:
        _apply(disks[list(disks)[index]], extents, body)
    count, content = frame.get("count", len(extents)), frame.get("content_length", len(body))
    codec, payload = (1, zstandard.compress(body, 1)) if frame.get("codec") == 1 else (frame.get("codec", 0), body)
    if "payload" in frame:
        payload = _payload(frame["payload"])
    leaves = _leaves(extents, body)
    if "content_length" in frame:
        leaves = bytes(16 * sum(min(length, 1 << 20) // PAGE for _, length, kind in extents if kind == "data"))
    stored = frame.get("stored_length", len(payload))
    fields = struct.pack("<BBHIII", frame.get("kind", 2), codec, index, count, content, stored)
    digest = blake3(fields + table + leaves + payload).digest()
    log.add(f"{name} record", fields + (bytes(32) if frame.get("digest") == "wrong" else digest))
    log.add(f"{name} table", table)
    log.add(f"{name} leaves", leaves)
    log.add(f"{name} payload", payload)


def _body(extents: Sequence[Sequence[Any]], seed: int) -> bytes:
    chosen = random.Random(seed)
    return b"".join(chosen.randbytes(min(length, 2 << 20)) for _, length, kind in extents if kind == "data")


def _apply(disk: bytearray, extents: Sequence[Sequence[Any]], body: bytes) -> None:
    at = 0
    for offset, length, kind in extents:
        data = body[at : at + length] if kind == "data" else bytes(min(length, len(disk)))
        at += length if kind == "data" else 0
        if offset < len(disk):
            disk[offset : offset + length] = data[: len(disk) - offset]


def _leaves(extents: Sequence[Sequence[Any]], body: bytes) -> bytes:
    at, leaves = 0, []
    for _, length, kind in extents:
        if kind == "data":
            part, at = body[at : at + length], at + length
            leaves += [blake3(part[start : start + PAGE]).digest(16) for start in range(0, len(part), PAGE)]
    return b"".join(leaves)


def _payload(made_of: Recipe) -> bytes:
    if "hex" in made_of:
        return bytes.fromhex(made_of["hex"])
    size = made_of.get("zstd_zeros") or made_of["zstd_unsized"]
    writer = zstandard.ZstdCompressor(level=1).compressobj(size=size if "zstd_zeros" in made_of else -1)
    parts = [writer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join(parts) + writer.flush()


def _spoiled(log: Log, recipe: Recipe) -> bytes:
    if "twice" in recipe:
        again = [(name, data) for name, data in log.parts if name.startswith(recipe["twice"])]
        last = max(at for at, (name, _) in enumerate(log.parts) if name.startswith(recipe["twice"]))
        log.parts[last + 1 : last + 1] = again
    if "without" in recipe:
        log.parts = [(name, data) for name, data in log.parts if not name.startswith(recipe["without"])]
    data = bytearray(log.whole())
    end = log.digest()
    log.add("end", end)
    if "flip" in recipe:
        part, bit = recipe["flip"]
        place = log.place(part)
        data += end
        data[place + bit // 8] ^= 1 << bit % 8
        del data[-32:]
        if part == "end":
            end = bytes([end[0] ^ 1]) + end[1:]
        elif recipe.get("resealed"):
            end = log.digest(bytes(data))
    data += end + bytes.fromhex(recipe.get("append", ""))
    if "cut" in recipe:
        part, kept = recipe["cut"]
        del data[log.place(part) + kept :]
    return bytes(data)
