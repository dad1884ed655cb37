"""What the command line promises of its voice, tried on a verb of the test's own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable

import click
import pytest
from rich.console import Console

from drill.cli import main as command_line
from drill.cli.output import Output, printable, spoken
from drill.errors import DrillRed, Refused, Unsupported

NOISY = """
import os, subprocess, sys
from drill.cli import main as command_line
from drill.cli.output import spoken
import click

@click.command("noisy")
@spoken
def noisy(out):
    out.progress("half way")
    print("a library prints")
    subprocess.run(["echo", "a child prints"], check=True)
    out.result({"answer": 42, "name": "Zürich"}, "the answer is 42")

command_line.root.add_command(noisy)
command_line.Verbs.get_command = lambda self, ctx, name: noisy
sys.exit(command_line.main(["noisy", *sys.argv[1:]]))
"""


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Output], object]], None]:
    """Make `drill probe` do what the test says."""

    def install(body: Callable[[Output], object]) -> None:
        @click.command("probe")
        @spoken
        def probe(out: Output) -> object:
            return body(out)

        monkeypatch.setattr(command_line.Verbs, "get_command", lambda *_: probe)

    return install


def test_standard_output_is_one_document_whatever_libraries_and_children_print() -> None:
    said = subprocess.run(
        [sys.executable, "-c", NOISY, "--json"], capture_output=True, text=True, timeout=30, check=True
    )
    assert json.loads(said.stdout) == {"answer": 42, "name": "Zürich"}
    assert said.stderr.splitlines() == ["half way", "a library prints", "a child prints"] or sorted(
        said.stderr.splitlines()
    ) == ["a child prints", "a library prints", "half way"]


def test_without_json_the_result_is_lines_and_progress_goes_to_standard_error() -> None:
    said = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True, timeout=30, check=True)
    assert said.stdout.splitlines()[-1] == "the answer is 42"
    assert said.stderr == "half way\n"


def test_progress_in_a_pipe_is_plain(verb: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    def body(out: Output) -> None:
        out.progress("[bold]copying[/bold] \x1b[31mdb")
        out.progress("db: 3 of 4")
        out.result({})

    verb(body)
    assert command_line.main(["probe"]) == 0
    assert capsys.readouterr().err == "[bold]copying[/bold] \\x1b[31mdb\ndb: 3 of 4\n"


def test_progress_on_a_terminal_tells_the_seconds() -> None:
    screen = io.StringIO()
    out = Output(
        json=False,
        results=io.StringIO(),
        console=Console(file=screen, force_terminal=True, width=80, highlight=False, color_system=None),
    )
    out.progress("host [a] is up")
    assert " s" in screen.getvalue()
    assert "host [a] is up" in screen.getvalue()


def test_an_error_says_what_to_do_and_ends_with_its_class_s_exit_code(
    verb: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def body(_: Output) -> None:
        raise Unsupported("/dev/net/tun", "guests need it", "modprobe tun")

    verb(body)
    assert command_line.main(["probe"]) == Unsupported.exit_code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "error: /dev/net/tun is missing: guests need it\nwhat to do: modprobe tun\n"


def test_an_error_is_the_document_with_json(verb: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    def body(_: Output) -> None:
        raise Refused("the network is production", rule="L3", cure="name another")

    verb(body)
    assert command_line.main(["probe", "--json"]) == Refused.exit_code
    assert json.loads(capsys.readouterr().out) == {
        "error": {
            "id": "Refused",
            "exit_code": Refused.exit_code,
            "message": "refused: the network is production",
            "remedy": "name another",
        }
    }


def test_an_error_after_the_result_leaves_the_one_document_alone(
    verb: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def body(out: Output) -> None:
        out.result({"verdict": "fail"}, "verdict: fail")
        raise DrillRed("fail", "report.html")

    verb(body)
    assert command_line.main(["probe", "--json"]) == DrillRed.exit_code
    said = capsys.readouterr()
    assert json.loads(said.out) == {"verdict": "fail"}
    assert "error: the drill's verdict is fail" in said.err


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["plain", "json"])
def test_an_interrupt_ends_with_130(
    verb: Callable[..., None], capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    def body(_: Output) -> None:
        raise KeyboardInterrupt

    verb(body)
    assert command_line.main(["probe", *flags]) == 130
    said = capsys.readouterr()
    assert "interrupted" in said.err
    assert not flags or json.loads(said.out)["error"]["exit_code"] == 130


def test_a_defect_is_shown_with_its_trace(verb: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    def body(_: Output) -> None:
        raise ZeroDivisionError("nobody foresaw this")

    verb(body)
    assert command_line.main(["probe", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["id"] == "Defect"
    assert "Traceback" in said.err
    assert "nobody foresaw this" in said.err


def test_a_verb_has_one_result(verb: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    def body(out: Output) -> None:
        out.result({"first": 1})
        out.result({"second": 2})

    verb(body)
    assert command_line.main(["probe", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"first": 1}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        pytest.param("db\x1b[2J", "db\\x1b[2J", id="escape sequence"),
        pytest.param("a\nb", "a\\nb", id="line break"),
        pytest.param("abc\u202etxt", "abc\\u202etxt", id="right-to-left override"),
        pytest.param("\u2066x\u2069", "\\u2066x\\u2069", id="isolate"),
        pytest.param("\x9b31m", "\\x9b31m", id="eight-bit control"),
        pytest.param("Zürich 日本", "Zürich 日本", id="letters of the world stay"),
    ],
)
def test_no_name_rules_the_terminal(given: str, shown: str) -> None:
    assert printable(given) == shown
