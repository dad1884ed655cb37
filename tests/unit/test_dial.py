"""Sockets as both sides use them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from drill.transport import dial


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root may go beyond the host's limit")
def test_buffers_are_as_large_as_a_long_line_needs_whatever_the_host_allows_everybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = 4 * int(Path("/proc/sys/net/core/wmem_max").read_text("ascii"))
    monkeypatch.setattr(dial, "_BUFFER_BYTES", wanted)
    with dial.listen("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= wanted
        connection = dial.dial("127.0.0.1", int(listener.getsockname()[1]), "a listener")
    with connection:
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= wanted
