"""Replies that a guest's agent should not give (tests/bad/README.md), through the adapter that asks it.

`recipe` has the answers: by command a text (or what makes one, see logs.text_of), or a list of them of which the last
is given for ever.  An answer may be {"hex": …}, bytes that the binding turns into text, or {"libvirt": [code, words]},
an error.  The way names what is asked of the guest.

ping · nics · time · run (a program, within 0.05 s) · read (a file of at most 1 KiB) · booted (when the kernel started)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar, cast

import libvirt
import libvirt_qemu
import pytest

from drill.checks import data
from drill.hypervisor.connection import Connection
from drill.hypervisor.guest_agent import LibvirtGuest
from drill.ports import Guest
from tests.bad import logs
from tests.bad.cases import Case, check_refused, parameters, read

T = TypeVar("T")
ASKED: dict[str, Callable[[Guest], object]] = {
    "ping": lambda guest: guest.ping(1),
    "nics": lambda guest: guest.nics(),
    "time": lambda guest: guest.time_us(),
    "run": lambda guest: guest.run(["/bin/true"], 0.05),
    "read": lambda guest: guest.read_file("/etc/motd", 1024),
    "booted": data._booted_us,
}
SOUND: dict[str, object] = {
    "guest-ping": '{"return":{}}',
    "guest-get-time": '{"return":1795204992422000000}',
    "guest-network-get-interfaces": '{"return":[{"name":"eth0","hardware-address":"52:54:00:00:00:01"}]}',
    "guest-exec": '{"return":{"pid":7}}',
    "guest-exec-status": '{"return":{"exited":true,"exitcode":0}}',
    "guest-file-open": '{"return":1000}',
    "guest-file-read": '{"return":{"count":9,"buf-b64":"MTIuMzQgNS42","eof":true}}',
    "guest-file-close": '{"return":{}}',
}


class Agent:
    """What answers in libvirt's place, in the way its binding does."""

    def __init__(self, answers: dict[str, object]) -> None:
        self._answers = {command: self._made(answer) for command, answer in {**SOUND, **answers}.items()}

    def __call__(self, domain: object, request: str, timeout: int, flags: int) -> str:
        queue = self._answers[json.loads(request)["execute"]]
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(answer, Exception):
            raise answer
        return answer.decode()

    def _made(self, answers: object) -> list[bytes | Exception]:
        return [_answer(one) for one in (answers if isinstance(answers, list) else [answers])]


class Alive:
    """A libvirt that knows every domain."""

    def isAlive(self) -> bool:  # noqa: N802, libvirt's name
        return True

    def lookupByName(self, name: str) -> str:  # noqa: N802
        return name


def _answer(one: Any) -> bytes | Exception:
    if isinstance(one, dict) and "libvirt" in one:
        code, words = one["libvirt"]
        error = libvirt.libvirtError("")
        error.err = (getattr(libvirt, code), libvirt.VIR_FROM_QEMU, logs.text_of(words).decode(), 2, "", "", "", 0, 0)
        error.args = (error.err[2],)
        return cast("Exception", error)
    if isinstance(one, dict) and "hex" in one:
        return bytes.fromhex(one["hex"])
    return logs.text_of(one)


def guest(monkeypatch: pytest.MonkeyPatch, answers: dict[str, object]) -> Guest:
    connection = Connection("test:///default")
    connection._handle = Alive()
    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", Agent(answers))
    return LibvirtGuest(connection, "web")


@parameters("agent-replies")
def test_what_an_agent_should_not_say_is_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = guest(monkeypatch, dict(case.recipe))
    check_refused(case, lambda: ASKED[case.through](asked), lambda: None)


@pytest.mark.parametrize("way", ASKED)
def test_a_sound_reply_is_taken(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ASKED[way](guest(monkeypatch, {}))


def test_a_case_is_red_when_its_reply_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, case = guest(monkeypatch, {}), read("agent-replies")[0]
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check_refused(case, lambda: ASKED[case.through](asked), lambda: None)
