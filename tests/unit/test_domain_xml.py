"""The allow-list between two sites: what is read out of domain XML, what is written, what is refused."""

from __future__ import annotations

import re
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drill.errors import BadInput
from drill.hypervisor.domain_xml import Tuning, parse, render
from drill.hypervisor.owner_xml import find_owner
from drill.hypervisor.safe_xml import SIZE_MAX, read
from drill.model.machine import Disk, KernelBoot, Machine, Nic, OwnerTag

OWNER = OwnerTag(vault="v1", run="r1")
parsed = partial(read, where="test")
WEB = """
<domain type='kvm' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name>
  <uuid>11111111-2222-3333-4444-555555555555</uuid>
  <memory unit='KiB'>1048577</memory>
  <currentMemory unit='KiB'>524288</currentMemory>
  <vcpu placement='static' current='1'>2</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <devices>
    <emulator>/tmp/evil</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <source file='/var/lib/libvirt/images/web.vda.qcow2' index='1'/>
      <backingStore type='file'><source file='/etc/shadow'/></backingStore>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>
    <interface type='network'>
      <mac address='52:54:00:AB:cd:01'/>
      <source network='VMNetwork1' portid='x' bridge='vm-1'/>
      <target dev='vnet3'/>
      <script path='/tmp/evil'/>
    </interface>
    <hostdev mode='subsystem' type='pci'/>
    <sound model='ich9'/>
  </devices>
  <qemu:commandline><qemu:arg value='-runas'/></qemu:commandline>
</domain>
"""


def changed(pattern: str, replacement: str) -> str:
    """WEB with the first match of a pattern replaced; the pattern must match."""
    text, count = re.subn(pattern, replacement, WEB, count=1, flags=re.DOTALL)
    assert count == 1
    return text


def test_a_machine_is_read_and_everything_unknown_is_left_behind() -> None:
    assert parse(WEB) == Machine(
        name="web",
        uuid="11111111-2222-3333-4444-555555555555",
        memory_mib=1025,
        vcpus=2,
        disks=(Disk(target="vda", path="/var/lib/libvirt/images/web.vda.qcow2", format="qcow2", size_bytes=0),),
        nics=(Nic(mac="52:54:00:ab:cd:01", network="VMNetwork1"),),
    )


def test_a_running_domain_on_a_long_chain_of_points_is_read() -> None:
    links = 2000
    link = "<backingStore type='file'><format type='qcow2'/><source file='/var/lib/drill/replica/i/point.vda.qcow2'/>"
    text = changed("</disk>", link * links + "</backingStore>" * links + "</disk>")
    assert parse(text).disks == parse(WEB).disks


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("<!DOCTYPE domain>" + WEB, "DOCTYPE", id="a doctype"),
        pytest.param(
            '<!DOCTYPE d [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><domain>&b;</domain>', "DOCTYPE", id="an entity bomb"
        ),
        pytest.param(
            '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/shadow">]><domain>&x;</domain>', "DOCTYPE", id="a foreign file"
        ),
        pytest.param("<domain>&undefined;</domain>", "malformed", id="an undefined entity"),
        pytest.param(WEB[: len(WEB) // 2], "malformed", id="a torn document"),
        pytest.param("", "malformed", id="nothing"),
        pytest.param("<domain>\x00</domain>", "malformed", id="a null byte"),
        pytest.param("\ud800", "Unicode", id="no Unicode"),
        pytest.param(WEB + " " * SIZE_MAX, "more than", id="a huge document"),
        pytest.param("<domain>" * 5000, "nested", id="deep nesting"),
        pytest.param("<domain>" + "<a/>" * 20_001, "elements", id="too many elements"),
        pytest.param("<network/>", "not <domain>", id="another document"),
        pytest.param(changed("type='kvm'", "type='xen'"), "type 'xen'", id="another hypervisor"),
        pytest.param(changed("<name>web</name>", ""), "<name>", id="no name"),
        pytest.param(changed("<name>web", "<name>../web"), "name", id="a name with a slash"),
        pytest.param(changed("<name>web", "<name>we\u202eb"), "name", id="a name that turns the text around"),
        pytest.param(changed("<name>web", "<name>" + "w" * 201), "name", id="a long name"),
        pytest.param(changed("<name>web</name>", "<name>a</name><name>b</name>"), "once", id="two names"),
        pytest.param(changed("11111111-2222-", "{11111111222}-"), "uuid", id="a broken UUID"),
        pytest.param(changed(">1048577<", ">-1<"), "memory", id="negative memory"),
        pytest.param(changed(">1048577<", ">1e9<"), "memory", id="memory that is no whole number"),
        pytest.param(changed(">1048577<", ">999999999999999999<"), "memory", id="memory beyond all bounds"),
        pytest.param(changed("unit='KiB'", "unit='potatoes'"), "unit", id="an unknown unit"),
        pytest.param(changed(">2</vcpu>", ">0</vcpu>"), "vcpu", id="no processor"),
        pytest.param(changed(">2</vcpu>", ">5000</vcpu>"), "vcpu", id="too many processors"),
        pytest.param(changed("hvm", "exe"), "hvm", id="a container"),
        pytest.param(changed("arch='x86_64'", "arch='s390x'"), "s390x", id="another architecture"),
        pytest.param(changed("</os>", "<loader type='pflash'>/x</loader></os>"), "firmware", id="UEFI by loader"),
        pytest.param(changed("<os>", "<os firmware='efi'>"), "firmware", id="UEFI by firmware"),
        pytest.param(changed("</os>", "<kernel>boot/vmlinuz</kernel></os>"), "kernel", id="a relative kernel"),
        pytest.param(changed("</os>", "<kernel>/b/../k</kernel></os>"), "kernel", id="a kernel path that climbs"),
        pytest.param(changed("</os>", "<kernel>/k</kernel><cmdline>a\nb</cmdline></os>"), "line", id="a torn cmdline"),
        pytest.param(changed("<disk type='file'", "<disk type='block'"), "not a file", id="a block device"),
        pytest.param(changed("<disk type='file'", "<disk type='network'"), "not a file", id="a network disk"),
        pytest.param(changed("device='disk'", "device='lun'"), "not a file", id="a passed-through disk"),
        pytest.param(changed(" type='qcow2'", ""), "format", id="a disk without a format"),
        pytest.param(changed("type='qcow2'", "type='vmdk'"), "format", id="another format"),
        pytest.param(changed("bus='virtio'", "bus='ide'"), "virtio", id="another bus"),
        pytest.param(changed("dev='vda'", "dev='../a'"), "virtio", id="a target that climbs"),
        pytest.param(changed("file='/var[^']*'", "file='images/web'"), "absolute", id="a relative disk"),
        pytest.param(changed("<target dev='vda'", "<shareable/><target dev='vda'"), "shareable", id="a shared disk"),
        pytest.param(
            changed("(<disk type='file' device='disk'>.*?</disk>)", r"\1\1"), "two disks", id="one disk twice"
        ),
        pytest.param(changed("type='network'", "type='bridge'"), "libvirt network", id="a card on a host's bridge"),
        pytest.param(changed("type='network'", "type='ethernet'"), "libvirt network", id="a tap that is up"),
        pytest.param(changed("network='VMNetwork1'", "network='a b'"), "libvirt network", id="a strange network"),
        pytest.param(changed("52:54:00:AB:cd:01", "53:54:00:AB:cd:01"), "unicast", id="a multicast MAC"),
        pytest.param(changed("52:54:00:AB:cd:01", "52:54:00:AB:cd"), "unicast", id="a short MAC"),
        pytest.param(changed("(<interface.*?</interface>)", r"\1\1"), "one MAC", id="one card twice"),
    ],
)
def test_what_cannot_be_rebuilt_faithfully_is_refused(text: str, problem: str) -> None:
    with pytest.raises(BadInput, match=problem) as refusal:
        parse(text)
    assert refusal.value.where == "domain XML"


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 _.<>&'\"é-]{0,40}[a-z0-9]", fullmatch=True)
paths = st.from_regex(r"/[A-Za-z0-9_<>&'\"é-][A-Za-z0-9_.<>&'\"é-]{0,30}[a-z0-9]", fullmatch=True)
macs = st.integers(0, 2**40 - 1).map(lambda n: ":".join(["52", *re.findall("..", f"{n:010x}")]))
lines = st.from_regex(r"[a-z0-9=,<>&'\"]([a-z0-9=,<>&'\" ]{0,60}[a-z0-9=])?", fullmatch=True)
boots = st.none() | st.builds(KernelBoot, kernel=paths, initrd=st.just("") | paths, cmdline=st.just("") | lines)
targets = st.lists(st.from_regex(r"vd[a-z]{1,2}", fullmatch=True), max_size=4, unique=True)


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Machines as a source site may have them, with names that XML must escape."""
    formats = st.sampled_from(["qcow2", "raw"])
    disks = tuple(
        Disk(target=target, path=f"{draw(paths)}.{target}", format=draw(formats), size_bytes=0)
        for target in draw(targets)
    )
    networks = st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,20}", fullmatch=True)
    nics = tuple(Nic(mac=mac, network=draw(networks)) for mac in draw(st.lists(macs, max_size=4, unique=True)))
    return Machine(
        name=draw(names),
        uuid=str(draw(st.uuids())),
        memory_mib=draw(st.integers(1, 2**20)),
        vcpus=draw(st.integers(1, 256)),
        disks=disks,
        nics=nics,
        boot=draw(boots),
    )


@settings(max_examples=200, deadline=None)
@given(machine=machines(), accelerator=st.sampled_from(["kvm", "tcg"]))
def test_what_is_written_reads_back_as_the_same_machine(machine: Machine, accelerator: str) -> None:
    assert parse(render(machine, OWNER, accelerator)) == machine


@settings(max_examples=100, deadline=None)
@given(vault=st.text(max_size=30), run=st.text(max_size=30))
def test_the_owner_tag_reads_back_or_cannot_be_written(vault: str, run: str) -> None:
    text = render(parse(WEB), OwnerTag(vault=vault, run=run), "tcg")
    try:
        found = find_owner(parsed(text))
    except BadInput:
        return  # a control character, which libvirt refuses as well
    assert found is not None
    assert found.vault.split() == vault.split()


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet=st.sampled_from(list("<>/='\" &;![]domainxkvtype")), max_size=200))
def test_any_text_is_a_machine_or_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse(text)


def test_a_card_on_no_network_has_its_link_down() -> None:
    machine = Machine(
        name="a",
        uuid="11111111-2222-3333-4444-555555555555",
        memory_mib=64,
        vcpus=1,
        disks=(),
        nics=(Nic(mac="52:54:00:00:00:01", network=None),),
    )
    card = parsed(render(machine, OWNER, "tcg")).find("devices/interface")
    assert card is not None
    assert card.find("link[@state='down']") is not None
    assert card.find("source") is None


def test_without_kvm_the_translation_cache_is_small() -> None:
    text = render(parse(WEB), None, "tcg", Tuning(tb_cache_mib=16))
    assert '<tb-cache unit="MiB">16</tb-cache>' in text
    assert "tb-cache" not in render(parse(WEB), None, "kvm")


def test_an_accelerator_that_is_none_is_an_error_of_ours() -> None:
    with pytest.raises(ValueError, match="hvf"):
        render(parse(WEB), None, "hvf")
