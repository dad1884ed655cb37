"""R13: something else than qemu-ga on the guest's agent port, which answers freezes as it likes.

It is a Perl program that takes the port inside the guest: init is stopped, so that it starts no other agent, the real
one is killed, and the false one serves until the guest is restarted (a real one that came back while a backup job is
open might stay unknown to libvirt, ground 1.40).  Whatever is asked of it beyond the freeze is answered well, so that
the lie is met where it is told.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from drill.errors import DrillError, Failed
from tests.lab.micro_machines import await_agent
from tests.lab.replicated import Replicated

LIES = {
    "dies": "do { close $port; sleep 600 } if $asked eq 'guest-fsfreeze-freeze';",
    "hangs": "sleep 600 if $asked eq 'guest-fsfreeze-freeze';",
    "answers-late": "sleep 7 if $asked eq 'guest-fsfreeze-freeze';",
    "thawed-fewer-than-were-frozen": "$said{'guest-fsfreeze-thaw'} = '{\"return\": 1}';",
    "stays-frozen-by-its-own-word": "$said{'guest-fsfreeze-status'} = '{\"return\": \"frozen\"}';",
    "counts-in-words": "$said{'guest-fsfreeze-freeze'} = '{\"return\": \"two\"}';",
    "counts-below-zero": "$said{'guest-fsfreeze-freeze'} = '{\"return\": -1}';",
    "froze-nothing": "$said{'guest-fsfreeze-freeze'} = '{\"return\": 0}';",
    "speaks-no-json": "$said{'guest-fsfreeze-freeze'} = 'by and by';",
    "floods": "if ($asked eq 'guest-fsfreeze-freeze') { syswrite $port, 'x' x 65536 for 1 .. 400; }",
    "refuses-to-thaw": '$said{\'guest-fsfreeze-thaw\'} = \'{"error": {"class": "GenericError", "desc": "no"}}\';',
}
QUICK = ("dies", "thawed-fewer-than-were-frozen")
FALSE_SECONDS = 40.0
FALSE = "no such command here"

_PROGRAM = r"""
use strict;
use warnings;
my %said = (
    'guest-ping' => '{"return": {}}',
    'guest-exec' => '{"return": {"pid": 77}}',
    'guest-exec-status' => '{"return": {"exited": true, "exitcode": 0, "out-data": "NzcK"}}',
    'guest-fsfreeze-freeze' => '{"return": 2}',
    'guest-fsfreeze-thaw' => '{"return": 2}',
    'guest-fsfreeze-status' => '{"return": "thawed"}',
);
my $port;
until (sysopen $port, $ARGV[0], 2) { select undef, undef, undef, 0.05; }
my $buffer = '';
while (1) {
    my $got = sysread $port, my $part, 65536;
    if (!$got) { select undef, undef, undef, 0.05; next; }
    $buffer .= $part;
    while ($buffer =~ s/^([^\n]*)\n//) {
        my $line = $1;
        my ($asked) = $line =~ /"execute"\s*:\s*"([\w-]+)"/ or next;
        my ($id) = $line =~ /"id"\s*:\s*(\d+)/;
        my $answer = $said{$asked} // '{"error": {"class": "CommandNotFound", "desc": "FALSE"}}';
        if ($asked eq 'guest-sync') { $answer = qq({"return": $id}); }
        if ($asked eq 'guest-sync-delimited') { $answer = qq(\xff{"return": $id}); }
        LIE
        $answer = $said{$asked} if $asked =~ /fsfreeze/;
        $answer .= "\n";
        while (length $answer) {
            my $done = syswrite $port, $answer;
            last unless $done;
            substr($answer, 0, $done) = '';
        }
    }
}
"""
_TAKE = """printf %s "$1" > /run/false-agent
for port in /sys/class/virtio-ports/*; do
    read -r name < "$port/name" && [ "$name" = org.qemu.guest_agent.0 ] && device=/dev/${port##*/}
done
(sleep 0.3; kill -TSTP 1; while pidof qemu-ga; do kill -9 $(pidof qemu-ga); sleep 0.1; done
    perl /run/false-agent "$device") > /run/false-agent.log 2>&1 < /dev/null &
"""


@contextmanager
def lying(vm: Replicated, lie: str) -> Iterator[None]:
    """The false agent serves while the block lasts; then the machine is restarted."""
    try:
        if not _taken(vm, lie):  # libvirt may lose sight of a port that changes hands (ground 1.44): once more
            _restart(vm)
            assert _taken(vm, lie), "the false agent"
        yield
    finally:
        _restart(vm)


def _taken(vm: Replicated, lie: str) -> bool:
    """The false agent takes the port; False where libvirt does not meet it there."""
    name = vm.machine.name
    try:
        await_agent(vm.hypervisor, name)
    except pytest.fail.Exception:  # it connected while a backup job was open, and stays unknown (ground 1.40)
        return False
    program = _PROGRAM.replace("FALSE", FALSE).replace("LIE", LIES[lie])
    done = vm.hypervisor.guest(name).run(["setsid", "sh", "-c", _TAKE, "take", program], 20)
    assert done.exit_code == 0, done
    deadline = time.monotonic() + FALSE_SECONDS
    while time.monotonic() < deadline:
        with suppress(DrillError, AssertionError):
            _must_be_false(vm)
            return True
        time.sleep(0.1)
    return False


def _restart(vm: Replicated) -> None:
    name = vm.machine.name
    vm.hypervisor.connection.call("destroy", lambda handle: handle.lookupByName(name).destroy())
    vm.start()


def _must_be_false(vm: Replicated) -> None:
    said = ""
    try:
        vm.hypervisor.guest(vm.machine.name).nics()
    except Failed as error:
        said = str(error)
    assert FALSE in said, f"not yet: {said}"
