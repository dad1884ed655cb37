"""Whatever happens to a lab, `down` leaves the machine as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drill.errors import Refused
from drill.lab import images, members, site, topology
from drill.lab.place import Place
from drill.lab.roots import labs_root
from drill.lab.status import status

pytestmark = pytest.mark.lab
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Picture:
    """What a lab could leave in the machine's own namespaces."""

    interfaces: frozenset[str]
    named_namespaces: frozenset[str]
    mounts: str
    orphans: frozenset[tuple[int, str]]
    folders: frozenset[str]

    @classmethod
    def taken(cls) -> Picture:
        """The machine as it is now; processes of any lab are left out, those of ours are counted apart."""
        named = Path("/run/netns")
        return cls(
            interfaces=frozenset(line.split()[0] for line in Path("/proc/net/dev").read_text().splitlines()[2:]),
            named_namespaces=frozenset(os.listdir(named)) if named.is_dir() else frozenset(),
            mounts=Path("/proc/self/mountinfo").read_text(),
            orphans=frozenset(_orphans()),
            folders=frozenset(str(path) for path in FOLDERS if path.exists()),
        )

    def changed(self, now: Picture) -> list[str]:
        """What is there now and was not, or the other way round; orphans that ended do not count."""
        found = [f"interface {name}" for name in self.interfaces ^ now.interfaces]
        found += [f"namespace {name}" for name in self.named_namespaces ^ now.named_namespaces]
        found += [f"process {pid} {command}" for pid, command in now.orphans - self.orphans]
        found += [f"mount {line}" for line in set(self.mounts.splitlines()) ^ set(now.mounts.splitlines())]
        if not members.any_lab():  # a lab of somebody else keeps them for as long as it stands
            found += [f"folder {folder}" for folder in self.folders ^ now.folders]
        return found


PROGRAMS = ("sleep", "libvirtd", "dnsmasq", "qemu-system-x86", "nsenter", "unshare", "virsh", "ip", "mount")
FOLDERS = [Path(path) for path in ("/run/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt")]


def _orphans() -> Iterator[tuple[int, str]]:
    """Daemons of the kinds that a lab starts, whose parent is the first process, and that are in no other lab."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{entry}/stat").read_text()
            environment = Path(f"/proc/{entry}/environ").read_text(errors="replace")
            mounts = Path(f"/proc/{entry}/mountinfo").read_text()
            argv = Path(f"/proc/{entry}/cmdline").read_text(errors="replace")
        except OSError:
            continue
        command, _, rest = stat.partition("(")[2].rpartition(")")
        parent = rest.split()[1]
        foreign = members.PREFIX in environment + mounts and f":{LAB}" not in environment + mounts
        ours = command in PROGRAMS or "drill" in argv
        if parent == "1" and rest.split()[0] != "Z" and not foreign and ours:
            yield int(entry), command


LAB = f"left-{os.getpid()}"


@pytest.fixture
def picture() -> Iterator[Callable[[], list[str]]]:
    """What has changed on the machine since the test began; whatever the test leaves is taken down after it."""
    images.ensure("micro")
    before = Picture.taken()
    try:
        yield lambda: lasting_changes(before)
    finally:
        for name in (LAB, f"{LAB}-b"):
            site.down(name)


def lasting_changes(before: Picture) -> list[str]:
    """What has changed since; what somebody else's passing process did is gone at a second look."""
    deadline = time.monotonic() + 3
    while (found := before.changed(Picture.taken())) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def two_site(name: str = LAB) -> topology.Topology:
    return topology.load("lab-two-site", name=name)


def test_down_leaves_interfaces_mounts_processes_and_folders_as_they_were(picture: Callable[[], list[str]]) -> None:
    site.up(two_site())
    during = [line for line in picture() if not line.startswith(("process", "folder"))]
    assert site.down(LAB)
    assert (during, picture(), members.of_lab(LAB), (labs_root() / LAB).exists()) == ([], [], (), False)


def test_down_of_a_lab_that_does_not_stand_is_no_error(picture: Callable[[], list[str]]) -> None:
    assert not site.down(LAB)
    assert picture() == []


def test_two_labs_stand_side_by_side_and_go_one_by_one(picture: Callable[[], list[str]]) -> None:
    site.up(two_site())
    site.up(two_site(f"{LAB}-b"))
    site.down(LAB)
    assert [one.state for one in (*status(LAB), *status(f"{LAB}-b"))] == ["absent", "whole"]
    site.down(f"{LAB}-b")
    assert picture() == []


@pytest.mark.parametrize("role", ["keeper", "libvirtd", "dnsmasq:VMNetwork1", "agent-source", "agent-receiver"])
def test_what_was_killed_is_mended_by_up_and_nothing_else_is_started(
    picture: Callable[[], list[str]], role: str
) -> None:
    lab = site.up(two_site())
    before = {(member.place, member.role): member.pid for member in members.of_lab(LAB) if member.role}
    members.end(lab.host("ny1").pids(role))
    site.up(lab.topology)
    after = {(member.place, member.role): member.pid for member in members.of_lab(LAB)}
    assert {key for key in before if before[key] != after[key]} == {("ny1", role)}
    assert status(LAB)[0].state == "whole"
    site.down(LAB)
    assert picture() == []


def test_a_lab_whose_keepers_were_all_killed_is_taken_down_whole(picture: Callable[[], list[str]]) -> None:
    site.up(two_site())
    members.end([member.pid for member in members.of_lab(LAB) if member.role == "keeper"])
    site.down(LAB)
    assert (picture(), members.of_lab(LAB)) == ([], ())


@pytest.mark.parametrize("place", ["fabric", "chi1", "controller"])
def test_a_place_that_was_lost_is_built_and_wired_again(picture: Callable[[], list[str]], place: str) -> None:
    lab = site.up(two_site())
    members.end([member.pid for member in members.of_lab(LAB) if member.place == place])
    mended = site.up(lab.topology)
    assert reaches(mended.controller, "10.77.2.11", 16509)
    assert reaches(mended.host("ny1").place, "10.77.0.21", 16509)
    site.down(LAB)
    assert picture() == []


@pytest.mark.parametrize("hundredths", [0, 2, 4, 6, 8, 10, 13, 17])
def test_an_up_killed_at_any_moment_is_continued_or_taken_down(
    picture: Callable[[], list[str]], hundredths: int
) -> None:
    building = _building()
    try:
        _await_folder()
        time.sleep(hundredths / 100)
    finally:
        os.kill(building.pid, signal.SIGKILL)
        building.wait()
    site.down(LAB)
    assert (picture(), members.of_lab(LAB), (labs_root() / LAB).exists()) == ([], (), False)


@pytest.mark.parametrize("hundredths", [1, 5, 9])
def test_an_up_killed_at_any_moment_is_finished_by_the_next(picture: Callable[[], list[str]], hundredths: int) -> None:
    building = _building()
    try:
        _await_folder()
        time.sleep(hundredths / 100)
    finally:
        os.kill(building.pid, signal.SIGKILL)
        building.wait()
    site.up(two_site())
    assert status(LAB)[0].state == "whole"
    site.down(LAB)
    assert picture() == []


def test_a_process_started_in_a_host_is_found_when_its_starter_is_gone(picture: Callable[[], list[str]]) -> None:
    lab = site.up(two_site())
    argv = lab.host("chi1").argv_inside(["setsid", "--fork", "sleep", "600"])
    subprocess.run(argv, check=True, timeout=10, env={"PATH": os.environ["PATH"]})
    site.down(LAB)
    assert picture() == []


def test_a_lab_cannot_be_seen_from_inside_it(picture: Callable[[], list[str]]) -> None:
    lab = site.up(two_site())
    for place in (lab.controller, lab.host("ny1").place):
        seen = place.run([sys.executable, "-m", "drill", "lab", "status", "--json"]).stdout
        assert json.loads(seen) == {"labs": []}
    site.down(LAB)
    assert picture() == []


def test_mounts_do_not_reach_a_machine_whose_tree_is_shared(picture: Callable[[], list[str]]) -> None:
    script = """set -e
mount --make-rshared /
before=$(cut -d' ' -f3-5 /proc/self/mountinfo | sort)
"$0" -m drill lab up --name "$1"
during=$(cut -d' ' -f3-5 /proc/self/mountinfo | sort)
"$0" -m drill lab down "$1"
[ "$before" = "$during" ]
"""
    _drill_in(["unshare", "--mount", "sh", "-c", script, sys.executable, LAB])
    assert picture() == []


def test_a_chroot_on_a_shared_tree_is_enough_and_stays_clean(picture: Callable[[], list[str]], tmp_path: Path) -> None:
    """The root of the chroot is a plain folder; only what drill runs is bound into it."""
    script = """set -e
mount --make-rshared /
cd "$2"
mkdir -p run var/lib var/cache var/log tmp
for part in usr etc dev proc sys var/cache/drill var/lib/dpkg "${3#/}"; do
  mkdir -p "$part"
  mount --rbind "/$part" "$part"
done
for link in bin sbin lib lib64; do ln -s "usr/$link" "$link"; done
before=$(cut -d' ' -f3-5 /proc/self/mountinfo | sort)
chroot . sh -c 'cd "$2"; "$0" -m drill lab up --name "$1" && "$0" -m drill lab status --json' "$0" "$1" "$3" > status
during=$(cut -d' ' -f3-5 /proc/self/mountinfo | sort)
chroot . sh -c 'cd "$2"; "$0" -m drill lab down "$1"' "$0" "$1" "$3"
[ "$before" = "$during" ]
grep -q '"state": "whole"' status
[ ! -e run/libvirt ] && [ ! -e var/lib/libvirt ] && [ ! -e var/lib/drill ]
"""
    _drill_in(["unshare", "--mount", "sh", "-c", script, sys.executable, LAB, str(tmp_path), str(ROOT)])
    assert picture() == []


def test_an_up_with_another_topology_is_refused(picture: Callable[[], list[str]]) -> None:
    site.up(two_site())
    with pytest.raises(Refused, match="another topology"):
        site.up(topology.load("lab-two-site-two-hosts", name=LAB))
    assert picture is not None


def reaches(place: Place, address: str, port: int) -> bool:
    """Whether a TCP connection from that place is accepted within a second."""
    code = f"import socket; socket.create_connection(({address!r}, {port}), 1).close()"
    argv = place.argv_inside([sys.executable, "-c", code])
    return subprocess.run(argv, timeout=10, check=False, capture_output=True).returncode == 0


def _building() -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "drill", "lab", "up", "--name", LAB]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _await_folder() -> None:
    members.await_true((labs_root() / LAB).exists, 20, "drill lab up to begin")


def _drill_in(argv: list[str]) -> None:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
