"""R23: certificates that are renewed, expire and are revoked while real agents replicate a real machine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from drill.errors import Untrusted
from drill.lab import certificates
from drill.model.identity import Identity, Role
from tests.faults.bench_lab import (
    bench_lab,
    in_the_middle_of_a_cycle,
    more_to_send_than_may_be_in_flight,
    sealed,
    sealed_soon,
    slow_link,
)
from tests.lab.micro_machines import await_done
from tests.lab.replicated import Replicated

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def vm() -> Iterator[Replicated]:
    with bench_lab("papers") as found:
        yield found


@pytest.mark.spec("E2.a")
def test_certificates_renewed_revoked_and_expired_while_streaming(vm: Replicated) -> None:
    authority = certificates.authority(vm.lab.folder)
    near = certificates.outside(vm.lab.folder, vm.near.name, Role.SOURCE)
    far = certificates.outside(vm.lab.folder, vm.far.name, Role.RECEIVER)
    holder = Identity(role=Role.SOURCE, name=vm.near.name)
    before = sealed(vm)

    with slow_link(vm):
        cycle = in_the_middle_of_a_cycle(vm)
        authority.renew(near)
        authority.renew(far)
        cycle.join()
        assert cycle.outcome is None, "a renewal broke the log that was on its way"

    old = {one.serial for one in authority.issued() if one.identity == holder}
    with slow_link(vm):
        more_to_send_than_may_be_in_flight(vm)
        cycle = in_the_middle_of_a_cycle(vm)
        authority.revoke(frozenset(old))
        authority.publish(far)
        cycle.join()
        assert isinstance(cycle.outcome, Untrusted)
        assert "was revoked" in vm.last_error()

    authority.issue(holder, near, timedelta(seconds=-1))
    await_done(lambda: expired(vm), "the source to show the certificate that has ended")

    authority.renew(near)
    point = sealed_soon(vm, "a cycle under the new certificate")
    assert (point.epoch, point.sequence) == (before.epoch, before.sequence + 2)
    assert len(vm.points()) == point.sequence
    assert vm.running()


def expired(vm: Replicated) -> None:
    """Whoever meets the source says what is wrong with it."""
    with pytest.raises(Untrusted, match="certificate has expired") as caught:
        vm.cycle()
    assert "drill vault renew" in caught.value.remedy
