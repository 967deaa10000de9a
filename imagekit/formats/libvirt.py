"""A domain in libvirt's XML, for its Xen driver (libxl).

The format: libvirt's formatdomain page and its RELAX NG schema (domain.rng), which `virt-xml-validate` applies;
how the Xen driver reads it: libvirt's src/libxl/libxl_conf.c.
"""

from xml.etree import ElementTree as ET

from imagekit.errors import RecipeError
from imagekit.formats.domain import Disk, Domain, Vif

# kind -> the machine and the type of operating system. "linux" is libvirt's old word for any PV guest.
_MACHINES = {"pv": ("xenpv", "linux"), "pvh": ("xenpvh", "xenpvh"), "hvm": ("xenfv", "hvm")}

# A double hyphen ends an XML comment, so no option and no name of a domain is said here.
_HEAD = "<!-- Made by imagekit. Start it: virsh create FILE -->\n"


def domain_xml(domain: Domain) -> str:
    """Return the domain as libvirt domain XML: UTF-8 without a declaration, ending in a newline.

    RecipeError: a relative kernel or ramdisk, which libvirt's daemon cannot find.
    """
    root = ET.Element("domain", type="xen")
    _leaf(root, "name", domain.name)
    if domain.uuid is not None:
        _leaf(root, "uuid", domain.uuid)
    _leaf(root, "memory", str(domain.memory), unit="MiB")
    _leaf(root, "vcpu", str(domain.vcpus))
    _boot(root, domain)
    if domain.boot == "bios":
        _features(root)
    for policy in ("on_poweroff", "on_reboot", "on_crash"):
        _leaf(root, policy, getattr(domain, policy))
    _devices(root, domain)
    ET.indent(root)
    return f"{_HEAD}{ET.tostring(root, encoding='unicode')}\n"


def _boot(root: ET.Element, domain: Domain) -> None:
    if domain.boot == "bootloader":
        _leaf(root, "bootloader", domain.bootloader)
    machine, system = _MACHINES[domain.kind]
    os = ET.SubElement(root, "os")
    # No architecture: libvirt takes the host's, and a 32-bit guest differs in its ELF header, not here.
    _leaf(os, "type", system, machine=machine)
    if domain.boot == "bios":  # no loader: the host's own firmware, wherever it lies there
        ET.SubElement(os, "boot", dev="hd")
    if domain.kernel is not None:
        _leaf(os, "kernel", _absolute(domain.kernel))
    if domain.ramdisk is not None:
        _leaf(os, "initrd", _absolute(domain.ramdisk))
    if domain.cmdline:
        _leaf(os, "cmdline", domain.cmdline)


def _features(root: ET.Element) -> None:
    """Name what xl has by itself: libvirt's driver switches off what is not named (libxl_conf.c)."""
    features = ET.SubElement(root, "features")
    for name in ("acpi", "apic", "pae"):
        ET.SubElement(features, name)


def _devices(root: ET.Element, domain: Domain) -> None:
    devices = ET.SubElement(root, "devices")
    for disk in domain.disks:
        _disk(devices, disk)
    for vif in domain.vifs:
        _interface(devices, vif)
    if domain.boot == "bios":
        serial = ET.SubElement(devices, "serial", type="pty")
        ET.SubElement(serial, "target", port="0")
    console = ET.SubElement(devices, "console", type="pty")
    ET.SubElement(console, "target", type="xen", port="0")


def _disk(devices: ET.Element, disk: Disk) -> None:
    kind, attribute = ("block", "dev") if disk.is_device else ("file", "file")
    element = ET.SubElement(devices, "disk", type=kind, device="disk")
    # A driver without a name leaves the back end to Xen, as xl does, but is taken for raw: so qemu for the rest.
    driver = {} if disk.format == "raw" else {"name": "qemu"}
    ET.SubElement(element, "driver", {**driver, "type": disk.format})
    ET.SubElement(element, "source", {attribute: disk.path})
    ET.SubElement(element, "target", dev=disk.vdev, bus="xen")
    if disk.access == "ro":
        ET.SubElement(element, "readonly")


def _interface(devices: ET.Element, vif: Vif) -> None:
    # "ethernet" is how libvirt leaves the bridge to Xen.
    element = ET.SubElement(devices, "interface", type="ethernet" if vif.bridge is None else "bridge")
    if vif.mac is not None:
        ET.SubElement(element, "mac", address=vif.mac)
    if vif.bridge is not None:
        ET.SubElement(element, "source", bridge=vif.bridge)
    if vif.ip is not None:
        ET.SubElement(element, "ip", address=vif.ip, family="ipv6" if ":" in vif.ip else "ipv4")
    if vif.script is not None:
        ET.SubElement(element, "script", path=vif.script)


def _leaf(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise RecipeError(f"libvirt needs the whole path of {path!r}", hint="begin it with /")
    return path
