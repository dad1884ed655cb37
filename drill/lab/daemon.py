"""The libvirt daemon of one lab host: its configuration, its start, and a warm cache of what QEMU can do.

No host shares anything with the machine's own libvirt: no socket activation, no cgroup (so no systemd-machined), no
D-Bus, no security driver.  The daemon is run from a copy of our own, because an AppArmor profile attaches by path and
the machine's profile forbids the folders of a lab.  The copy is kept between labs: libvirt throws its capability cache
away when the daemon's file is newer, and probing QEMU again costs the first guest seconds.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import tempfile
import uuid
from pathlib import Path

from drill.errors import Unsupported
from drill.lab.images import cache_root
from drill.lab.members import mark
from drill.lab.place import Place
from drill.lab.preflight import QEMU, tool
from drill.lab.topology import Seat, Topology

ROLE = "libvirtd"
PORT = 16509
PROBE_SECONDS = 120.0
"""Probing takes 4 s on an idle machine under TCG, twice that where /dev/kvm is slow to fail."""

_LIBVIRTD_CONF = """listen_tls = 0
listen_tcp = 1
listen_addr = "0.0.0.0"
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "{uuid}"
log_level = 3
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
_QEMU_CONF = """security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""
_NETWORK = """<network>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <forward mode='bridge'/>
  <bridge name='{bridge}'/>
</network>
"""
_ACCOUNT = "libvirt-qemu"


def configure(topology: Topology, seat: Seat, folder: Path) -> None:
    """Write the daemon's configuration and its networks into a host's folder; repeating it changes nothing."""
    networks = folder / "etc" / "qemu" / "networks"
    (networks / "autostart").mkdir(parents=True, exist_ok=True)
    identity = uuid.uuid5(uuid.NAMESPACE_OID, mark(topology.name, seat.name))
    (folder / "etc" / "libvirtd.conf").write_text(_LIBVIRTD_CONF.format(uuid=identity))
    (folder / "etc" / "qemu.conf").write_text(_QEMU_CONF)
    for carried in topology.carried():
        if seat not in carried.seats:
            continue
        name, file = carried.network.name, networks / f"{carried.network.name}.xml"
        if not file.exists():
            file.write_text(_NETWORK.format(name=name, uuid=uuid.uuid5(identity, name), bridge=carried.network.bridge))
        start = networks / "autostart" / file.name
        if not start.is_symlink():
            start.symlink_to(f"/etc/libvirt/qemu/networks/{file.name}")
    _write_accounts(folder)


def start(place: Place, folder: Path) -> None:
    """Start the daemon in its host.  The caller waits for `ready`."""
    program = own_copy("libvirtd")
    argv = ["env", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent", str(program), "--listen"]
    place.launch([*argv, "--pid-file", "/run/libvirt/libvirtd.pid"], role=ROLE, log=folder / "log" / "start.log")


def ready(place: Place, topology: Topology, folder: Path) -> bool:
    """Whether the daemon answers and has its networks up."""
    wanted = [c.network.name for c in topology.carried() if any(seat.name == place.name for seat in c.seats)]
    return (
        place.listens(PORT)
        and (folder / "run" / "libvirt-sock").exists()
        and all((folder / "run" / "network" / f"{name}.xml").exists() for name in wanted)
    )


def own_copy(name: str) -> Path:
    """Our copy of a daemon's program, made when it is not there, kept as long as the original does not change."""
    original = tool(name)
    if original is None:
        raise Unsupported(name, "a lab runs it")
    stat = original.stat()
    copy = cache_root() / "daemons" / f"{stat.st_size:x}-{stat.st_mtime_ns:x}" / name
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        handle, fresh = tempfile.mkstemp(dir=copy.parent)
        os.close(handle)
        shutil.copyfile(original, fresh)
        os.chmod(fresh, 0o700)
        os.rename(fresh, copy)
    return copy


def capabilities_folder(accelerator: str) -> Path:
    """Where probed capabilities are kept: another folder for every QEMU, libvirt, kernel and accelerator."""
    library = Path("/usr/lib/x86_64-linux-gnu")
    files = [own_copy("libvirtd"), tool(QEMU), library / "qemu", *sorted((library / "libvirt").rglob("*.so"))]
    known = [(str(file), file.stat().st_ctime_ns) for file in files if file is not None and file.exists()]
    key = hashlib.sha256(repr((known, os.uname().release, accelerator)).encode()).hexdigest()[:16]
    return cache_root() / "capabilities" / key


def seed_capabilities(folder: Path, accelerator: str) -> bool:
    """Give a host what an earlier daemon learned about QEMU.  False when nothing is known yet."""
    known = capabilities_folder(accelerator)
    if not known.is_dir():
        return False
    shutil.copytree(known, folder / "cache" / "qemu" / "capabilities", dirs_exist_ok=True)
    return True


def learn_capabilities(place: Place, folder: Path, accelerator: str) -> None:
    """Let a running daemon probe QEMU and keep the answer for every later lab."""
    place.run(["virsh", "-q", "-c", "qemu:///system", "capabilities"], timeout_seconds=PROBE_SECONDS)
    known = capabilities_folder(accelerator)
    known.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=known.parent))
    shutil.copytree(folder / "cache" / "qemu" / "capabilities", fresh, dirs_exist_ok=True)
    try:
        os.rename(fresh, known)
    except OSError:  # another lab was quicker
        shutil.rmtree(fresh)


def _write_accounts(folder: Path) -> None:
    """Debian's libvirt wants an account that only a package we do without creates; give it to this host alone."""
    for file in ("passwd", "group"):
        (folder / file).unlink(missing_ok=True)
    try:
        pwd.getpwnam(_ACCOUNT)
    except KeyError:
        accounts = Path("/etc/passwd").read_text() + f"{_ACCOUNT}:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin\n"
        (folder / "passwd").write_text(accounts)
        (folder / "group").write_text(Path("/etc/group").read_text() + f"{_ACCOUNT}:x:64055:\n")
