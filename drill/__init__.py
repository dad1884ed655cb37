"""drill: disaster-recovery drills for KVM/QEMU virtual machines under libvirt."""

__version__ = "0.1.0"
