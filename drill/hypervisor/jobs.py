"""Backup jobs of a domain as libvirt has them, and a guest that its job paused: for the agent and for who clears up.

Job statistics say success after any abort, and abort is the normal end of a pull job: a job is over only when libvirt
has none any more.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, TypeAlias

import libvirt

from drill.errors import Unknown
from drill.hypervisor import safe_xml

END_SECONDS = 60.0
"""libvirt ends a job within milliseconds of the abort; while the state lock is held by another job it waits 30 s."""
POLL_SECONDS = 0.002
Domain: TypeAlias = Any  # a virDomain


def has_job(domain: Domain) -> bool:
    """Whether libvirt has any job of the domain."""
    if not domain.isActive():
        return False
    return bool(domain.jobStats().get("type", 0) != libvirt.VIR_DOMAIN_JOB_NONE)


def is_ours(domain: Domain, folder: Path) -> bool:
    """Whether the job is a backup whose socket lies in our folder."""
    if domain.jobStats().get("operation") != libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP:
        return False
    root = safe_xml.read(domain.backupGetXMLDesc(0), where="backup XML")
    server = root.find("server")
    return server is not None and Path(server.get("socket", "")).parent == folder


def end_job(domain: Domain) -> None:
    """Abort, then wait: the completion event comes before the job is gone (ground 1.10)."""
    try:
        domain.abortJob()
    except libvirt.libvirtError:
        if has_job(domain):
            raise
    until = time.monotonic() + END_SECONDS
    while has_job(domain):
        if time.monotonic() > until:
            raise Unknown("ending a cycle's job", f"libvirt still has it after {END_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def is_starved(domain: Domain) -> bool:
    """Whether the guest is paused by an I/O error."""
    if not domain.isActive():
        return False
    state, reason = domain.state()
    return bool(state == libvirt.VIR_DOMAIN_PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_IOERROR)


def resume_if_starved(domain: Domain) -> None:
    """A guest paused by an I/O error during our job was paused by our scratch (ground 1.7): let it run again."""
    if is_starved(domain):
        domain.resume()
