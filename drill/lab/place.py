"""The namespaces a lab is made of, and how to get processes into them.

A *place* is a host, the controller, or the fabric that wires them.  It is held by a keeper: a process that made its
own mount, network and host-name namespaces, mounted what belongs there, and sleeps.  Namespaces have no names in the
file system; they end with their last process.  Mounts made inside never reach the machine's own tree: the tree of
the new namespace is made private first.  Where the root folder is no mount point (a chroot), that takes a step out
to the root of the namespace, because the mount to be made private lies above the chroot.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import drill
from drill.errors import Failed, Unknown
from drill.lab import members
from drill.lab.images import cache_root
from drill.lab.roots import STATE_INSIDE, labs_root

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEEPER = "keeper"
KEEPER_SECONDS = 10.0
"""A keeper is ready in 0.02 s; a loaded machine may take longer."""

# The propagation of mounts has to end before the first mount is made.  `ready PID` tells that all is mounted.
_BEGIN = """set -eu
cd /
case $1 in chroot) nsenter --mount=/proc/self/ns/mnt mount -n --make-rprivate / ;; esac
mount -n -t tmpfs -o ro,size=4k,mode=755 "$DRILL_LAB" "$2"
shift 2
for file in ipv4/ip_forward bridge/bridge-nf-call-iptables; do
  [ ! -e /proc/sys/net/$file ] || echo 0 > /proc/sys/net/$file
done
for scope in all default; do
  [ ! -e /proc/sys/net/ipv6/conf/$scope/disable_ipv6 ] || echo 1 > /proc/sys/net/ipv6/conf/$scope/disable_ipv6
done
ip link set lo up
"""
_END = """
export DRILL_LAB_ROLE="keeper@$$"
echo "ready $$"
exec sleep infinity </dev/null >/dev/null 2>&1
"""
_TAKE_ROLE = 'export DRILL_LAB_ROLE="$0@$$"; exec "$@"'


@dataclass(frozen=True, slots=True)
class Place:
    """One set of namespaces of a standing lab; `pid` is a live process in it."""

    lab: str
    name: str
    pid: int

    def argv_inside(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in here, from the machine's own namespaces."""
        return ["nsenter", "-t", str(self.pid), "-m", "-n", "-u", "-r", "-w", *argv]

    def run(
        self, argv: Sequence[str], *, timeout_seconds: float = 30.0, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in here and wait for it.  Raises Failed when it does not exit 0, Unknown when time is over."""
        return run(self.argv_inside(argv), environment(self.lab, self.name), timeout_seconds, stdin)

    def launch(self, argv: Sequence[str], *, role: str, log: Path) -> None:
        """Start a process in here that goes on after us; its output is appended to `log` (a path outside)."""
        env = environment(self.lab, self.name, role)
        with log.open("ab") as output:
            subprocess.run(
                ["setsid", "--fork", *self.argv_inside(["sh", "-c", _TAKE_ROLE, role, *argv])],
                check=True, timeout=10, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    def listens(self, port: int) -> bool:
        """Whether a TCP socket in here accepts connections on that port; nothing is connected."""
        try:
            lines = Path(f"/proc/{self.pid}/net/tcp").read_text("ascii").splitlines()[1:]
        except OSError:
            return False
        return any(cells[1].endswith(f":{port:04X}") and cells[3] == "0A" for cells in map(str.split, lines))

    def interfaces(self) -> frozenset[str]:
        """The names of the network interfaces in here."""
        lines = Path(f"/proc/{self.pid}/net/dev").read_text("utf-8").splitlines()[2:]
        return frozenset(line.partition(":")[0].strip() for line in lines)


def environment(lab: str, place: str, role: str = "") -> dict[str, str]:
    """What every process of a lab gets as its environment: the mark, and nothing of the caller's session."""
    return {
        "PATH": SEARCH_PATH,
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(Path(drill.__file__).resolve().parent.parent),
        "DRILL_STATE_DIR": str(STATE_INSIDE),
        "DRILL_CACHE_DIR": str(cache_root()),
        members.MARK_VARIABLE: members.mark(lab, place),
        members.ROLE_VARIABLE: role,
    }


def keep(lab: str, place: str, script: str, *, marker: Path, also: Mapping[str, str]) -> Place:
    """Make a place: new namespaces, the mark mounted on the folder `marker`, then `script`, then a sleeping keeper.

    `script` is sh, under `set -eu`, with the variables of `also`.  Raises Failed with what the script said.
    """
    propagation = "private" if root_is_mount_point() else "unchanged"
    argv = ["setsid", "--fork", "unshare", "--mount", "--net", "--uts", "--propagation", propagation]
    argv += ["sh", "-c", _BEGIN + script + _END, KEEPER]
    argv += ["machine" if propagation == "private" else "chroot", str(marker)]
    env = environment(lab, place, KEEPER) | dict(also)
    return Place(lab=lab, name=place, pid=_keeper_pid(place, _output(argv, env, KEEPER_SECONDS)))


def keep_again(place: Place) -> Place:
    """A new keeper for namespaces that lost theirs and are held by another process."""
    env = environment(place.lab, place.name, KEEPER)
    argv = ["setsid", "--fork", *place.argv_inside(["sh", "-c", _END, KEEPER])]
    return replace(place, pid=_keeper_pid(place.name, _output(argv, env, KEEPER_SECONDS)))


def root_is_mount_point() -> bool:
    """False in a chroot whose root is a plain folder."""
    return any(line.split()[4] == "/" for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines())


def run(
    argv: Sequence[str], env: Mapping[str, str], timeout_seconds: float, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.  Raises Failed when it does not exit 0, Unknown when the time is over."""
    action = " ".join(argv)
    try:
        done = subprocess.run(
            argv, env=dict(env), input=stdin, capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unknown(action=action, cause=f"no end after {timeout_seconds:.0f} s") from error
    except OSError as error:
        raise Failed(action=action, cause=str(error)) from error
    if done.returncode != 0:
        raise Failed(action=action, cause=(done.stderr or done.stdout).strip() or f"exit code {done.returncode}")
    return done


def base_environment() -> dict[str, str]:
    """The environment of short commands that run outside every lab."""
    return {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", "HOME": os.environ.get("HOME", "/root")}


def state_folder(lab: str) -> Path:
    """The folder with everything that belongs to a lab."""
    return labs_root() / lab


def _keeper_pid(place: str, said: str) -> int:
    word, _, pid = said.rstrip().rpartition("\n")[2].partition(" ")
    if word != "ready" or not pid.isdigit():
        raise Failed(action=f"making the namespaces of {place}", cause=said.strip() or "no output")
    return int(pid)


def _output(argv: Sequence[str], env: Mapping[str, str], timeout_seconds: float) -> str:
    """What a process that goes on says until it closes its output."""
    try:
        done = subprocess.run(
            argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=timeout_seconds, check=False, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Unknown(action=argv[0], cause=f"no answer after {timeout_seconds:.0f} s") from error
    return done.stdout
