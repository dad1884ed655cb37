"""A guest's file systems frozen through its agent, with two ways to thaw them that need neither the agent nor us.

Inside the guest, before the freeze, a shell is started that sleeps and then thaws (`fsfreeze` of util-linux or of
busybox, which call FITHAW).  It reads only pseudo file systems and programs that a frozen file system still serves, it
leaves the agent's control group so that a service manager that ends the agent lets it live, and once it has begun to
thaw it goes on for ten minutes, in case a hook that hung freezes late.  Seen on the micro guest and on Debian 12: agent
killed in a frozen guest, thawed by the timer.  Outside, `drill.hypervisor.release` thaws through the agent when its
parent dies or when time is up.

The agent's own word `frozen` outlives a thaw by anybody else (QEMU 7.2 keeps it in a file): what its `thaw` counts is
what tells who was first.
"""

from __future__ import annotations

import threading

from drill.errors import Failed, Unsupported
from drill.hypervisor.connection import Connection
from drill.hypervisor.guest_agent import LibvirtGuest
from drill.hypervisor.release import Hold, Releaser

ARM_SECONDS = 4.0
FREEZE_SECONDS = 5.0
"""How long freezing may take, the guest's own hooks included: the armed timers leave no more (L3)."""
THAW_SECONDS = 3.0
STATE_SECONDS = 2.0
FROZEN_SECONDS_MAX = 10.0
_NO_TOOL = 97

TIMER = """
command -v fsfreeze > /dev/null && command -v sleep > /dev/null || exit 97
thaw() {
    while read -r device folder rest; do
        case $device in /*) fsfreeze --unfreeze "$(printf %b "$folder")" ;; esac
    done < /proc/self/mounts
}
for old in $(grep -ls drill-thaw /proc/[0-9]*/cmdline); do
    old=${old#/proc/} old=${old%/cmdline}
    [ "$old" = $$ ] || kill "$old" 2> /dev/null
done
{
    for group in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/systemd/cgroup.procs; do echo 0 > "$group"; done
    left=600
    trap 'left=1' USR1
    sleep "$1"
    while [ $left -gt 0 ]; do thaw; left=$((left - 1)); [ $left -eq 0 ] || sleep 1; done
} < /dev/null > /dev/null 2>&1 &
echo $!
"""
"""$1 seconds, then thaw; every second again unless SIGUSR1 came.  Ends timers of earlier freezes; prints its number."""

ONCE_MORE = 'grep -q drill-thaw "/proc/$1/cmdline" && kill -USR1 "$1"'
"""For a timer, if that process still is one: the guest may have been restarted."""


class LibvirtFreezer:
    """The Freezer port."""

    def __init__(self, connection: Connection, releaser: Releaser) -> None:
        self._connection = connection
        self._releaser = releaser
        self._lock = threading.Lock()
        self._timers: dict[str, int] = {}

    def arm(self, domain: str, seconds: int) -> None:
        """Start the timer inside, then have the process outside watch."""
        guest = self._guest(domain)
        try:
            started = guest.run(["/bin/sh", "-c", TIMER, "drill-thaw", str(seconds)], ARM_SECONDS)
        except Failed as error:
            self._check_thawed(domain)
            raise Unsupported("a timer inside the guest", f"{domain} has no /bin/sh to run one: {error}") from error
        if started.exit_code != 0 or not started.output.strip().isdigit():
            lacking = "fsfreeze or sleep" if started.exit_code == _NO_TOOL else f"exit code {started.exit_code}"
            raise Unsupported("a timer inside the guest", f"{domain}: {lacking}", "install util-linux there")
        with self._lock:
            self._timers[domain] = int(started.output)
        self._releaser.hold(domain, Hold.FROZEN, seconds)

    def freeze(self, domain: str) -> int:
        """Run the guest's freeze hooks and freeze its file systems."""
        return self._guest(domain).ask("guest-fsfreeze-freeze", {}, seconds=FREEZE_SECONDS, changes=True).number()

    def thaw(self, domain: str) -> int:
        """Thaw its file systems and run its thaw hooks."""
        return self._guest(domain).ask("guest-fsfreeze-thaw", {}, seconds=THAW_SECONDS, changes=True).number()

    def is_frozen(self, domain: str) -> bool:
        """What the agent says."""
        return self._guest(domain).ask("guest-fsfreeze-status", {}, seconds=STATE_SECONDS, changes=False).is_frozen()

    def disarm(self, domain: str) -> None:
        """The timer inside fires once more, for an agent that does not tell the truth, and ends."""
        with self._lock:
            timer = self._timers.get(domain)
        if timer is not None:
            self._guest(domain).run(["/bin/sh", "-c", ONCE_MORE, "drill", str(timer)], ARM_SECONDS)
        self._releaser.let_go(domain, Hold.FROZEN)

    def _check_thawed(self, domain: str) -> None:
        """Failed where the guest is frozen already; unless whoever did it thaws it in time, the watch outside does."""
        if self.is_frozen(domain):
            self._releaser.hold(domain, Hold.FROZEN, FROZEN_SECONDS_MAX)
            raise Failed(f"freezing {domain}", "it is frozen already: by another tool, or by an agent that died")

    def _guest(self, domain: str) -> LibvirtGuest:
        return LibvirtGuest(self._connection, domain)
