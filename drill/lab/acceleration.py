"""Which accelerator guests get here, found by booting one.

That /dev/kvm opens says little: there are machines where it does and where a guest hangs before its kernel's first
line, while a boot sector of a few instructions still runs (seen; it took 3 s instead of 0.06 s).  So the probe boots
the kernel that the lab's guests use and waits for its banner.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from drill.lab.images import cache_root
from drill.lab.place import base_environment
from drill.lab.preflight import QEMU

KVM_SECONDS = 5.0
"""A kernel under working KVM shows its banner within 0.5 s."""
_BANNER = b"Linux version"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """`kvm` or `tcg`, and why, in one sentence."""

    name: str
    reason: str


def choose(kernel: Path) -> Accelerator:
    """The accelerator for guests with this kernel; asked of the machine once per boot, then remembered."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    memory = cache_root() / "acceleration.json"
    try:
        known = json.loads(memory.read_text("utf-8"))
        if known.pop("boot") == boot:
            return Accelerator(**known)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing is remembered, or nothing that can be read: ask again
    answer = probe(kernel)
    memory.parent.mkdir(parents=True, exist_ok=True)
    fresh = memory.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps({"boot": boot, **asdict(answer)}), "utf-8")
    fresh.rename(memory)
    return answer


def probe(kernel: Path, timeout_seconds: float = KVM_SECONDS) -> Accelerator:
    """Boot `kernel` under KVM and say whether it came to its banner in time."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Accelerator("tcg", "/dev/kvm is not there or cannot be opened")
    argv = [
        "prlimit",
        "--core=0",
        QEMU,
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-m",
        "128",
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
    ]
    argv += ["-serial", "stdio", "-kernel", str(kernel), "-append", "console=ttyS0 earlyprintk=ttyS0 panic=-1"]
    guest = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=base_environment()
    )
    with guest:
        said = _read_until(guest.stdout, _BANNER, timeout_seconds) if guest.stdout else b""
        guest.kill()
    if _BANNER in said:
        return Accelerator("kvm", "a kernel boots under KVM")
    last = said.decode("utf-8", "replace").strip().rpartition("\n")[2][:120] or "nothing"
    return Accelerator("tcg", f"a kernel under KVM did not begin within {timeout_seconds:.0f} s; it said: {last}")


def _read_until(stream: IO[bytes], wanted: bytes, timeout_seconds: float) -> bytes:
    deadline = time.monotonic() + timeout_seconds
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while wanted not in said and selector.select(max(0.0, deadline - time.monotonic())):
            piece = os.read(stream.fileno(), 65536)
            if not piece:
                break
            said += piece
    return said
