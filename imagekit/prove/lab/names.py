"""The Debian 12 packages that labs are made of, by name."""

XEN = "4.17"
"""The release of Xen that Debian 12 brings; its programs lie in /usr/lib/xen-4.17."""

KERNEL = "linux-image-amd64"
"""Depends on the newest kernel; that one is what is taken."""

_XEN = (
    f"xen-hypervisor-{XEN}-amd64",
    f"xen-utils-{XEN}",
    "xenstore-utils",
    f"libxenmisc{XEN}",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
)
_LIBRARIES = (
    "libc6",
    "libgcc-s1",
    "libyajl2",
    "libnl-3-200",
    "libnl-route-3-200",
    "libuuid1",
    "liblzma5",
    "zlib1g",
    "libbz2-1.0",
    "libzstd1",
    "libext2fs2",  # pygrub reads ext4 by it
    "libcom-err2",
)
_PYTHON = (
    "python3.11-minimal",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libexpat1",
    "libffi8",
    "libncursesw6",
    "libtinfo6",
    "ncurses-base",
)
_GRUB = (
    "grub-common",  # grub-mkimage, and what it is linked with
    "libdevmapper1.02.1",
    "libselinux1",
    "libudev1",
    "libpcre2-8-0",
    "grub-xen-bin",
    "grub-xen-host",
)

_DEVICE_MODEL = (
    "qemu-system-xen",  # the device model of HVM guests
    "seabios",  # their BIOS, which hvmloader takes from dom0
    "libfdt1",  # from here on: what that QEMU is linked with
    "libglib2.0-0",
    "libpixman-1-0",
    "libjpeg62-turbo",
    "libusb-1.0-0",
    "libudev1",
    "libpcre2-8-0",
)

PACKAGES: tuple[str, ...] = (KERNEL, *_XEN, *_LIBRARIES, *_PYTHON, "busybox-static", *_GRUB)
"""Those of a lab for PV and PVH guests, as `apt-get download` takes them."""

HVM_PACKAGES: tuple[str, ...] = (KERNEL, *_XEN, *_LIBRARIES, *_PYTHON, "busybox-static", *_DEVICE_MODEL)
"""Those of a lab for HVM guests: no GRUB of ours, which comes from the guest's disk."""
