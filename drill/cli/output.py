"""What a verb says: progress and errors on standard error, its result on standard output.

terminal    progress with times on standard error, the result as lines
pipe        progress as plain lines on standard error, the result as lines
--json      standard output is one JSON document: the result, or {"error": …}; all else, also what a library or a
            child process prints, goes to standard error
"""

from __future__ import annotations

import contextlib
import json as json_codec
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, NoReturn, TypeVar

import click
from rich.console import Console
from rich.markup import escape

from drill.errors import DrillError, Usage

READER_GONE = 141
"""The exit code when nobody reads standard output any more: that of a process ended by SIGPIPE."""

Verb = TypeVar("Verb", bound=Callable[..., object])


@dataclass
class Output:
    """The voice of one invocation.  A verb calls `progress` as often as it likes and `result` once, at its end."""

    json: bool
    results: IO[str]
    console: Console
    begun: float = field(default_factory=time.monotonic)
    delivered: bool = False

    @classmethod
    @contextlib.contextmanager
    def opened(cls, *, json: bool) -> Iterator[Output]:
        """The output of one invocation; with `json` standard output is kept for the one document until the end."""
        console = Console(stderr=True, highlight=False)
        if not json:
            yield cls(json=False, results=sys.stdout, console=console)
            return
        with _standard_output_reserved() as results:
            yield cls(json=True, results=results, console=console)

    def progress(self, text: str) -> None:
        """Say what is going on: one line on standard error, with the seconds since the start on a terminal."""
        text = printable(text)
        if self.console.is_terminal:
            self.console.print(f"[dim]{time.monotonic() - self.begun:7.1f} s[/dim]  {escape(text)}")
        else:
            self._line(text)

    def result(self, document: Mapping[str, object], *lines: str) -> None:
        """Deliver the verb's result: `document` with --json, else `lines`.  Raises RuntimeError the second time."""
        if self.delivered:
            raise RuntimeError("a verb has one result")
        self._deliver(document, lines)

    def error(self, error: DrillError) -> None:
        """Show an error and what to do about it.  With --json it is the document, unless a result was delivered."""
        self._line(f"error: {printable(str(error))}")
        if error.remedy:
            self._line(f"what to do: {printable(error.remedy)}")
        self._deliver_error(error.id, error.exit_code, str(error), error.remedy)

    def defect(self, trace: str) -> None:
        """Show an exception that no verb foresaw, with its trace."""
        for line in trace.rstrip().splitlines():
            self._line(printable(line))
        self._line("error: a defect in drill, see the trace above")
        self._line("what to do: report it with the trace; nothing is known about the state that was left")
        self._deliver_error("Defect", 1, trace.rstrip().rsplit("\n", 1)[-1], "report it with the trace")

    def help(self, text: str) -> int:
        """Show how a command that lacks its verb is used; the exit code is that of `Usage`."""
        for line in text.splitlines():
            self._line(printable(line))
        self._deliver_error(Usage.__name__, Usage.exit_code, "a verb is missing", "see the help")
        return Usage.exit_code

    def interrupted(self) -> None:
        """Say that the operator stopped it."""
        self._line("interrupted")
        self._deliver_error("Interrupted", 130, "interrupted", "")

    def _line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is where drill speaks

    def _deliver(self, document: Mapping[str, object], lines: tuple[str, ...]) -> None:
        self.delivered = True
        if self.json:
            text = json_codec.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
        else:
            text = "\n".join(printable(line) for line in lines)
        try:
            if text:
                self.results.write(f"{text}\n")
            self.results.flush()
        except BrokenPipeError:
            self._end_quietly()

    def _end_quietly(self) -> NoReturn:
        """End as a process does whose reader is gone; the interpreter must not flush into the broken pipe again."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.results.fileno())
        raise SystemExit(READER_GONE)

    def _deliver_error(self, id: str, exit_code: int, message: str, remedy: str) -> None:
        if self.json and not self.delivered:
            fields = {"id": id, "exit_code": exit_code, "message": message, "remedy": remedy}
            self._deliver({"error": fields}, ())


def spoken(verb: Verb) -> Verb:
    """Decorate a verb's function: it gets the `Output` as first argument and its command knows `--json`.

    The option's value is not passed on: the output was opened with it before the command line was parsed.
    """
    flag = click.option("--json", is_flag=True, expose_value=False, help="One JSON document on standard output.")
    return flag(click.pass_obj(verb))  # type: ignore[return-value]  # click's types forget the signature


def printable(text: str) -> str:
    """The text with control and bidirectional characters shown as escapes, so that no name rules the terminal."""
    return "".join(one if one == "\t" or _harmless(one) else one.encode("unicode_escape").decode() for one in text)


def _harmless(character: str) -> bool:
    code = ord(character)
    bidirectional = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069 or code in (0x200E, 0x200F, 0x061C)
    return not (code < 0x20 or 0x7F <= code < 0xA0 or bidirectional or 0xD800 <= code <= 0xDFFF)


@contextlib.contextmanager
def _standard_output_reserved() -> Iterator[IO[str]]:
    """Send what anybody prints to standard error and yield the true standard output."""
    sys.stdout.flush()
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # standard output is an object of a test runner, not a file
        true_output = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            yield true_output
        return
    kept = os.dup(number)
    os.dup2(sys.stderr.fileno(), number)
    try:
        with os.fdopen(os.dup(kept), "w", encoding="utf-8", errors="backslashreplace") as true_output:
            yield true_output
    finally:
        sys.stdout.flush()
        os.dup2(kept, number)
        os.close(kept)
