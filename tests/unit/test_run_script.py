"""`./run`: what it refuses in one sentence, before it changes anything, and what it costs when nothing is missing.

Foreign tools (apt-get, dpkg-query, id) are replaced by scripts on PATH that note that they were called.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from fixtures.command_line import ROOT

ALL_INSTALLED = """#!/bin/sh
case "$*" in
*libvirt-daemon) echo 9.0.0-4 ;;
*) shift 3; for package; do echo "$package=installed"; done ;;
esac
"""
NONE_INSTALLED = "#!/bin/sh\nexit 1\n"


class Machine:
    """A checkout of its own and the tools that it sees first."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.tools = folder / "tools"
        self.called = folder / "called"
        self.checkout.mkdir()
        self.tools.mkdir()
        shutil.copy(ROOT / "run", self.checkout)
        shutil.copy(ROOT / "pyproject.toml", self.checkout)
        self.path = f"{self.tools}:{os.environ['PATH']}"
        self.has("apt-get", f"#!/bin/sh\necho apt-get $* >>{self.called}\n")

    def has(self, tool: str, script: str) -> None:
        """Put a tool before the machine's own."""
        place = self.tools / tool
        place.write_text(script)
        place.chmod(0o755)

    def run(self, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
        """`./run`, after a shell command in a mount namespace of its own when `before` is given."""
        argv = [str(self.checkout / "run"), *arguments]
        if before:
            argv = ["unshare", "-m", "--propagation", "unchanged", "sh", "-c", f'{before} && exec "$@"', "sh", *argv]
        env = {**os.environ, "PATH": self.path, "PIP_NO_INDEX": "1"}
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)

    def untouched(self) -> bool:
        """Whether neither apt was called nor a virtual environment begun."""
        return not self.called.exists() and not (self.checkout / ".venv").exists()

    def ready(self, name: str = "") -> None:
        """A virtual environment as a finished set-up leaves it, whose python only tells its arguments."""
        bin_folder = self.checkout / ".venv" / "bin"
        bin_folder.mkdir(parents=True)
        (bin_folder / "python").write_text('#!/bin/sh\necho "python $*"\n')
        (bin_folder / "python").chmod(0o755)
        both = (self.checkout / "pyproject.toml").read_bytes() + (self.checkout / "run").read_bytes()
        said = subprocess.run(["cksum"], input=both, capture_output=True, timeout=10, check=True)
        (self.checkout / ".venv" / f".ready-{said.stdout.decode().strip().replace(' ', '-')}{name}").touch()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_root_it_names_the_missing_packages_and_changes_nothing(machine: Machine) -> None:
    machine.has("id", "#!/bin/sh\necho 1000\n")
    machine.has("dpkg-query", NONE_INSTALLED)
    said = machine.run("demo")
    assert said.returncode == 3
    assert said.stderr.startswith("error: not root: packages are missing (ca-certificates ")
    assert len(said.stderr.splitlines()) == 2
    assert machine.untouched()


def test_without_apt_it_says_so_and_changes_nothing(machine: Machine) -> None:
    for tool in ("sh", "dirname", "id", "cat", "cksum", "tr", "sed"):
        (machine.tools / tool).symlink_to(shutil.which(tool) or pytest.fail(f"this machine has no {tool}"))
    (machine.tools / "apt-get").unlink()
    machine.path = str(machine.tools)
    said = machine.run("demo")
    assert said.returncode == 3
    assert said.stderr.startswith("error: this machine has no apt")
    assert len(said.stderr.splitlines()) == 2
    assert machine.untouched()


@pytest.mark.skipif(os.geteuid() != 0, reason="root is missing: /dev/net/tun cannot be hidden")
@pytest.mark.parametrize("arguments", [("demo",), ("test",)], ids=["demo", "test with the lab required"])
def test_without_a_tun_device_it_says_so_and_changes_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DRILL_REQUIRE_LAB", "1")
    machine.has("dpkg-query", NONE_INSTALLED)
    said = machine.run(*arguments, before="mount -t tmpfs none /dev/net")
    assert said.returncode == 3
    assert said.stderr.startswith("error: there is no /dev/net/tun")
    assert len(said.stderr.splitlines()) == 2
    assert machine.untouched()


def test_an_installed_libvirt_that_is_too_old_is_named(machine: Machine) -> None:
    machine.has("dpkg-query", ALL_INSTALLED.replace("9.0.0-4", "7.0.0-3+deb11u3"))
    said = machine.run("demo")
    assert said.returncode == 3
    assert said.stderr.startswith("error: libvirt 7.0.0-3+deb11u3 is too old")
    assert machine.untouched()


def test_a_libvirt_that_apt_would_install_too_old_is_not_installed(machine: Machine) -> None:
    machine.has("id", "#!/bin/sh\necho 0\n")
    machine.has("dpkg-query", NONE_INSTALLED)
    machine.has("dpkg", f'#!/bin/sh\n[ "$1" = --audit ] || exec {shutil.which("dpkg")} "$@"\n')
    machine.has("apt-cache", "#!/bin/sh\necho 'libvirt-daemon:'\necho '  Candidate: 6.0.0-0ubuntu8'\n")
    said = machine.run("lab", "status")
    assert said.returncode == 3
    assert "error: libvirt 6.0.0-0ubuntu8 is too old" in said.stderr
    assert " update" in machine.called.read_text()
    assert " install" not in machine.called.read_text()
    assert not (machine.checkout / ".venv").exists()


def test_a_version_in_between_is_not_too_old(machine: Machine) -> None:
    machine.has("dpkg-query", ALL_INSTALLED.replace("9.0.0-4", "8.0.0-1ubuntu7"))
    machine.ready()
    assert machine.run("--version").returncode == 0


@pytest.mark.parametrize("stamp", ["", "-test", "-measure"])
def test_when_nothing_is_missing_it_is_quick_and_passes_its_arguments_on(machine: Machine, stamp: str) -> None:
    machine.has("dpkg-query", ALL_INSTALLED)
    machine.ready(stamp)
    begun = time.monotonic()
    said = machine.run("lab", "status", "--json", "a b")
    assert time.monotonic() - begun < 1
    assert said.stdout == "python -m drill lab status --json a b\n"
    assert said.stderr == ""
    assert not machine.called.exists()


def test_tests_are_measured_by_what_was_set_up_for_it(machine: Machine) -> None:
    machine.has("dpkg-query", ALL_INSTALLED)
    machine.ready("-measure")
    assert machine.run("measure", "mutants", "--seed", "7").stdout == "python -m tests.measure mutants --seed 7\n"
    assert machine.run("test", "tests/unit").stdout.endswith("--no-loadscope-reorder tests/unit\n")


def test_a_set_up_for_tests_does_not_do_for_measuring_them(machine: Machine) -> None:
    machine.has("dpkg-query", ALL_INSTALLED)
    machine.ready("-test")
    assert "installing by pip into .venv: drill[test,dev,measure]" in machine.run("measure", "mutants").stderr


def test_a_changed_build_file_is_set_up_again(machine: Machine) -> None:
    machine.has("dpkg-query", ALL_INSTALLED)
    machine.ready()
    with (machine.checkout / "pyproject.toml").open("a") as build_file:
        build_file.write("\n# a change\n")
    assert "installing by pip" in machine.run("--version").stderr


def test_a_virtual_environment_that_was_left_unfinished_is_made_anew(machine: Machine) -> None:
    machine.has("dpkg-query", ALL_INSTALLED)
    machine.ready()
    (machine.checkout / ".venv" / ".unfinished").touch()
    (machine.checkout / ".venv" / "torn").touch()
    said = machine.run("--version")  # no index: pip cannot get at anything, as on a machine without network
    assert "making .venv anew" in said.stderr
    assert not (machine.checkout / ".venv" / "torn").exists()
    assert said.returncode == 3
    assert "error: pip could not install drill" in said.stderr
    assert (machine.checkout / ".venv" / ".unfinished").exists()


def test_continuous_integration_requires_the_lab() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "DRILL_REQUIRE_LAB=1" in script
    assert '/run" test "$@"' in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_peers_names_the_packages_it_would_install(machine: Machine) -> None:
    machine.has("id", "#!/bin/sh\necho 1000\n")
    machine.has("dpkg-query", NONE_INSTALLED)
    said = machine.run("--peers")
    assert said.returncode == 3
    assert said.stderr.startswith("error: not root: packages are missing (virtnbdbackup borgbackup restic")
    assert machine.untouched()
