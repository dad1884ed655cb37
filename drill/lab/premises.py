"""What is inside each place of a lab: its folders, and what is mounted where before anything runs in it.

A host keeps its state in a folder of its own, bound over the paths that libvirt and the agents use.  A new host is a
machine after its start: what lies under /run is gone, everything else is as it was.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from drill.lab import daemon
from drill.lab.claims import BOUND
from drill.lab.place import Place, keep
from drill.lab.roots import labs_root
from drill.lab.topology import Seat, Topology

BOOT_IMAGE = "micro"

_NAMED = """
echo "$PLACE" > /proc/sys/kernel/hostname
for file in hosts passwd group; do
  [ ! -e "$FOLDER/$file" ] || [ ! -e "/etc/$file" ] || mount -n --bind "$FOLDER/$file" "/etc/$file"
done
"""
_HIDDEN = """
[ ! -d "$LABS" ] || mount -n -t tmpfs -o ro,size=4k none "$LABS"
"""
# A fresh /sys shows this place's interfaces and no control groups, by which libvirt would find systemd.  A /dev/kvm
# that guests cannot use is covered by a file that cannot be written: libvirt then does not probe it, which takes 4 s,
# nor again because it could be opened.
_HOST = """
umount -n -R /sys 2>/dev/null || :
mount -n -t sysfs sysfs /sys
if [ "$ACCELERATOR" != kvm ] && [ -e /dev/kvm ]; then
  : > "$FOLDER/no-kvm"
  mount -n --bind -o ro "$FOLDER/no-kvm" /dev/kvm
fi
mkdir -p "$FOLDER/lib/boot/$BOOT_NAME" "$FOLDER/lib/images"
mount -n --bind "$FOLDER/lib" /var/lib/libvirt
mount -n --bind -o ro "$BOOT" "/var/lib/libvirt/boot/$BOOT_NAME"
while read -r from to; do
  mount -n --bind "$FOLDER/$from" "$to"
done <<END
$BOUND
END
"""
_CONTROLLER = """
mount -n --bind "$FOLDER/drill" "$STATE"
"""


@dataclass(frozen=True, slots=True)
class Premises:
    """How the places of one lab are made.  `folder` is the lab's, `boot` holds the kernel that guests boot."""

    topology: Topology
    folder: Path
    boot: Path
    accelerator: str

    def fabric(self) -> Place:
        """The place of the bridges; nothing runs there."""
        return self._keep("fabric", "", labs_root(), {})

    def controller(self) -> Place:
        """The place of a controller that sees no folder of a host and has a state folder of its own."""
        (self.folder / "controller" / "drill").mkdir(parents=True, exist_ok=True)
        self._write_hosts("controller")
        return self._keep("controller", _NAMED + _CONTROLLER + _HIDDEN, BOUND["run"], {"STATE": str(BOUND["drill"])})

    def host(self, seat: Seat) -> Place:
        """The place of one host, configured and ready for its daemon."""
        folder = self.folder / seat.name
        shutil.rmtree(folder / "run", ignore_errors=True)
        for part in BOUND:
            (folder / part).mkdir(parents=True, exist_ok=True)
        self._write_hosts(seat.name)
        daemon.configure(self.topology, seat, folder)
        daemon.seed_capabilities(folder, self.accelerator)
        also = {
            "ACCELERATOR": self.accelerator,
            "BOOT": str(self.boot),
            "BOOT_NAME": BOOT_IMAGE,
            "BOUND": "\n".join(f"{part} {target}" for part, target in BOUND.items() if part != "lib"),
        }
        return self._keep(seat.name, _NAMED + _HOST + _HIDDEN, BOUND["run"], also)

    def _keep(self, name: str, script: str, marker: Path, also: dict[str, str]) -> Place:
        known = {"PLACE": name, "FOLDER": str(self.folder / name), "LABS": str(labs_root())}
        return keep(self.topology.name, name, script, marker=marker, also=known | also)

    def _write_hosts(self, name: str) -> None:
        """Names for the addresses of a lab, without which libvirt asks a name server that cannot be reached."""
        lines = ["127.0.0.1 localhost", *(f"{seat.address} {seat.name}" for seat in self.topology.seats())]
        (self.folder / name / "hosts").write_text("\n".join(lines) + "\n")
