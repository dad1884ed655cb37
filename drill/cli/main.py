"""The command `drill`: one file in this folder per verb, imported only when the verb is used.

A verb's file defines `command`, a click command or group; the verb's name is the file's, with hyphens, and files that
begin with an underscore are shared by verbs.  The code of a verb takes the invocation's `Output` (drill/cli/output.py)
and lets errors of drill/errors.py pass: they are shown here, with the class's exit code.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from drill import __version__
from drill.cli.output import Output
from drill.errors import DrillError, Usage

INTERRUPTED = 130
DEFECT = 1
_NOT_VERBS = frozenset({"main", "output"})
# In code a test failover is `failover_test`: pytest would collect an imported `test_*`.
_FILES = {"test-failover": "failover_test"}
_NAMES = {file: verb for verb, file in _FILES.items()}


class Verbs(click.Group):
    """The verbs of this folder."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names of all verbs, sorted; nothing is imported."""
        files = (file.stem for file in Path(__file__).parent.glob("*.py"))
        verbs = (stem for stem in files if stem not in _NOT_VERBS and not stem.startswith("_"))
        return sorted(_NAMES.get(stem, stem.replace("_", "-")) for stem in verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb; None when there is no such file."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"drill.cli.{_FILES.get(cmd_name, cmd_name.replace('-', '_'))}")
        command = getattr(module, "command", None)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__} defines no click command named `command`")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs; one whose file cannot be imported says so and hides no other."""
        rows = [(name, self._summary(ctx, name)) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Verbs"):
                formatter.write_dl(rows)

    def _summary(self, ctx: click.Context, name: str) -> str:
        try:
            command = self.get_command(ctx, name)
        except (ImportError, SyntaxError, TypeError, AttributeError) as cause:
            return f"(cannot be loaded: {cause})"
        return command.get_short_help_str(limit=90) if command is not None else ""


@click.group(cls=Verbs, name="drill", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="drill")
def root() -> None:
    """Drill proves that a disaster-recovery plan works.

    Every verb knows --json: standard output is then one document, and everything else goes to standard error.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code (docs/guide/errors.md)."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    with Output.opened(json=_wants_json(argv)) as out:
        try:
            return _perform(argv, out)
        except (KeyboardInterrupt, click.Abort):
            out.interrupted()
            return INTERRUPTED
        except Exception:  # noqa: BLE001 - the edge: what nobody foresaw is shown whole
            out.defect(traceback.format_exc())
            return DEFECT


def _perform(argv: list[str], out: Output) -> int:
    """Run the verb; errors that tell the operator what to do are shown and become exit codes."""
    try:
        status = root.main(argv, prog_name="drill", standalone_mode=False, obj=out)
    except DrillError as error:
        out.error(error)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        return out.help(error.format_message())
    except click.ClickException as error:
        out.error(usage := Usage(problem=error.format_message(), cure=_cure(error)))
        return usage.exit_code
    return status if isinstance(status, int) else 0


def _wants_json(argv: Sequence[str]) -> bool:
    """Whether `--json` was given, also on a command line that cannot be parsed."""
    return "--json" in (argv[: argv.index("--")] if "--" in argv else argv)


def _cure(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"see `{context.command_path} --help`" if context is not None else "see `drill --help`"
