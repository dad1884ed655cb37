"""Waiting for the services of a recovered machine, asked from inside the guest through its agent.

No path into the bubble is needed for that; that one tier reaches the next is shown by a service whose answer depends
on it (the shop's web answers only when its app does, and the app only when its database does).
"""

from __future__ import annotations

from drill.errors import DrillError
from drill.model.command import AwaitServices, ServicesSeen
from drill.model.estate import Service
from drill.model.fact import Json, Observed, ServiceAnswered
from drill.ports import Clock, Guest, Hosts

# $1 address, $2 port, $3 request.  Exit 0 or 2: connected (2: the peer then said nothing); else not.
ASK = """
if [ -x /drill/ask ]; then
    if [ -n "$3" ]; then exec /drill/ask "$1" "$2" "$3"; else exec /drill/ask "$1" "$2"; fi
fi
exec bash -c '
    exec 3<>"/dev/tcp/$1/$2" || exit 1
    [ -z "$3" ] || printf "%s\\r\\n\\r\\n" "$3" >&3
    timeout 3 head -c 4096 <&3 || exit 2
' ask "$@"
"""
ASK_SECONDS = 10.0
PAUSE_SECONDS = 0.15


def await_services(command: AwaitServices, hosts: Hosts, clock: Clock) -> ServicesSeen:
    """Ask every service again and again until all have answered or the time is over."""
    guest = hosts.hypervisor(command.host).guest(command.domain)
    deadline = clock.monotonic() + command.seconds
    answered: dict[str, ServiceAnswered] = {}
    said: dict[str, str] = {}
    while len(answered) < len(command.services) and clock.monotonic() < deadline:
        for service in (one for one in command.services if one.name not in answered):
            good, said[service.name] = _ask(guest, command.address, service)
            if good:
                answered[service.name] = ServiceAnswered(at_us=clock.now_us(), vm=command.vm, service=service.name)
        if len(answered) < len(command.services):
            clock.sleep(PAUSE_SECONDS)
    names: list[Json] = [one.name for one in command.services]
    seen: list[Json] = [
        {"name": one.name, "answers": one.name in answered, "detail": said.get(one.name, "")[:200]}
        for one in command.services
    ]
    observed = Observed(
        at_us=clock.now_us(),
        check="service",
        vm=command.vm,
        expected={"services": names},
        observed={"services": seen},
        evidence={"asked": f"{command.address} from inside the guest"},
        error="",
    )
    return ServicesSeen(answered=tuple(answered.values()), observed=observed)


def _ask(guest: Guest, address: str, service: Service) -> tuple[bool, str]:
    """Whether the service answers as it should, and what it or the attempt said."""
    shell = ["sh", "-c", ASK, "ask", address or "127.0.0.1", str(service.port), service.request]
    try:
        done = guest.run(shell, ASK_SECONDS)
    except DrillError as error:
        return False, str(error)
    text = done.output.decode("utf-8", "replace")
    connected = done.exit_code in {0, 2}
    detail = text if connected else done.errors.decode("utf-8", "replace")
    return connected and service.expect in text, detail.strip()
