"""A machine that cannot have a lab is told so in one sentence, before anything is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from drill.errors import Unsupported
from drill.lab.roots import labs_root

pytestmark = pytest.mark.lab
ROOT = Path(__file__).resolve().parents[2]
LAB = f"never-{os.getpid()}"


def refusal(*before: str) -> tuple[int, str, str]:
    """Exit code, message and remedy of `drill lab up` after `before`, a shell command in a private mount namespace."""
    script = "; ".join((*before, 'exec "$0" -m drill lab up --json --name "$1"'))
    argv = ["unshare", "--mount", "sh", "-c", script, sys.executable, LAB]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    error = json.loads(done.stdout)["error"]
    assert not (labs_root() / LAB).exists()
    return done.returncode, error["message"], error["remedy"]


@pytest.mark.parametrize(
    ("before", "message", "remedy"),
    [
        ("mount -t tmpfs none /dev/net", "/dev/net/tun is missing", "load the module tun"),
        ("mount --bind /dev/null /usr/sbin/libvirtd", "libvirtd is missing", "apt install libvirt-daemon"),
        ("mount --bind /dev/null /usr/bin/qemu-system-x86_64", "qemu-system-x86_64 is missing", "apt install qemu"),
        ("mount --bind /dev/null /usr/sbin/dnsmasq", "dnsmasq is missing", "apt install dnsmasq-base"),
        ("mount --bind /bin/echo /usr/sbin/libvirtd", "libvirt 7.2 or newer is missing", "use a newer distribution"),
    ],
    ids=["tun", "libvirt", "qemu", "dnsmasq", "old-libvirt"],
)
def test_what_is_missing_is_named_with_its_cure(before: str, message: str, remedy: str) -> None:
    code, said, cure = refusal(before)
    assert (code, said.startswith(message), cure.startswith(remedy)) == (Unsupported.exit_code, True, True), said


def test_an_ordinary_user_is_told_to_be_root() -> None:
    # All that is left of root is the right to read: the checkout may lie in a folder that only root can enter.
    reading = "--inh-caps +dac_read_search --ambient-caps +dac_read_search"
    ordinary = f"setpriv --reuid 65534 --regid 65534 --clear-groups {reading}"
    code, said, cure = refusal(f'set -- "$1"; exec {ordinary} "$0" -m drill lab up --json --name "$1"')
    assert (code, cure) == (Unsupported.exit_code, "run it as root, or with sudo"), said
