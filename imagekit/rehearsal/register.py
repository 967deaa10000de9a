"""RegisterImage: what EC2 refuses, and what it keeps."""

import re

from imagekit.rehearsal.bundles import read_bundle
from imagekit.rehearsal.cloud import Ask, Image, Mapping
from imagekit.rehearsal.query import Asked, NotDoneError, specified_tags

_NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}")
_DEVICE = re.compile(r"(/dev/)?[a-z][a-z0-9]{1,30}")
_EPHEMERAL = re.compile(r"ephemeral([0-9]|1[0-9]|2[0-3])")
_TYPES = {"standard", "gp2", "gp3", "io1", "io2", "st1", "sc1"}
_ROOT_TYPES = _TYPES - {"st1", "sc1"}
_ARCHITECTURES = {"i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"}
_LARGEST = {"standard": 1024, "gp2": 65536, "gp3": 65536, "io1": 65536, "io2": 65536, "st1": 16384, "sc1": 16384}
_KEPT = ("EnaSupport", "SriovNetSupport", "BootMode", "TpmSupport", "UefiData", "ImdsSupport")
_ALLOWED = (
    *_KEPT,
    "Name",
    "Description",
    "Architecture",
    "KernelId",
    "RamdiskId",
    "RootDeviceName",
    "BlockDeviceMapping",
    "VirtualizationType",
    "ImageLocation",
    "TagSpecification",
)
_BOOT_MODES = {"legacy-bios", "uefi", "uefi-preferred"}
_DESCRIPTION = 255
_ROOTS_OF_HVM = {"sda1", "xvda"}  # EC2 User Guide, "Device names for volumes": reserved for root volumes


def register(ask: Ask) -> dict[str, object]:
    """RegisterImage."""
    asked = ask.asked
    asked.only(*_ALLOWED)
    name = check_name(asked)
    tags = specified_tags(asked, "image", "snapshot")
    image = _bundled(ask, name) if "ImageLocation" in asked else _backed(ask, name)
    _check_virtualization(ask, image)
    check_free(ask, name)
    image.tags = tags["image"]
    image.asked = {key: asked.text(key) for key in _KEPT if key in asked}
    for part in image.mappings:
        if part.snapshot:
            ask.region.snapshot(part.snapshot).tags |= tags["snapshot"]
    return keep(ask, image, ask.cloud.settings.registering)


def keep(ask: Ask, image: Image, wait: float) -> dict[str, object]:
    """Give an image to the account and say its id."""
    image.owner = ask.cloud.settings.owner
    image.wait = wait
    image.fails = ask.fault == "failed"
    image.location = image.location or f"{image.owner}/{image.name}"
    ask.region.images[image.id] = image
    return {"imageId": image.id}


def check_name(asked: Asked) -> str:
    """Return the name that an image is to have; NotDoneError when it cannot have it."""
    name = asked.needed("Name")
    if not _NAME.fullmatch(name):
        message = (
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, "
            "'(', ')', '[', ']', ' ', '.', '/', '-', ''', '@' and '_'"
        )
        raise NotDoneError("InvalidAMIName.Malformed", message)
    if len(asked.text("Description")) > _DESCRIPTION:
        raise asked.invalid("Description")
    return name


def check_free(ask: Ask, name: str) -> None:
    """Refuse a name that an image of the account's has, in any state."""
    for one in ask.region.images.values():
        if one.name == name:
            raise NotDoneError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {one.id}")


def _backed(ask: Ask, name: str) -> Image:
    asked = ask.asked
    architecture = asked.text("Architecture", "i386")
    if architecture not in _ARCHITECTURES:
        raise asked.invalid("Architecture")
    root = asked.needed("RootDeviceName")
    parts = _mappings(ask, root)
    if not any(part.device == root and part.snapshot for part in parts):
        message = f"The root device '{root}' is not among the block device mappings with a snapshot"
        raise NotDoneError("InvalidBlockDeviceMapping", message)
    return Image(
        name,
        architecture,
        asked.text("VirtualizationType", "paravirtual"),
        asked.text("Description"),
        kernel=asked.text("KernelId"),
        ramdisk=asked.text("RamdiskId"),
        root=root,
        mappings=parts,
    )


def _bundled(ask: Ask, name: str) -> Image:
    asked = ask.asked
    location = asked.needed("ImageLocation")
    bundle = read_bundle(ask.cloud.store, location, ask.region.name, ask.cloud.settings.owner)
    if asked.text("Architecture", bundle.architecture) != bundle.architecture:
        message = f"The architecture of the manifest is {bundle.architecture}"
        raise NotDoneError("InvalidParameterCombination", message)
    if any("Ebs" in one for one in asked.parts("BlockDeviceMapping")):
        message = "An image in S3 has no EBS volume as its root"
        if any(
            one.text("DeviceName") == asked.text("RootDeviceName") for one in asked.parts("BlockDeviceMapping")
        ):
            raise NotDoneError("InvalidBlockDeviceMapping", message)
    return Image(
        name,
        bundle.architecture,
        asked.text("VirtualizationType", "paravirtual"),
        asked.text("Description"),
        kernel=asked.text("KernelId", bundle.kernel),
        ramdisk=asked.text("RamdiskId", bundle.ramdisk),
        root=asked.text("RootDeviceName", bundle.root),
        location=location,
        bundled=True,
        mappings=_mappings(ask, ""),
    )


def _check_virtualization(ask: Ask, image: Image) -> None:
    if image.virtualization not in {"paravirtual", "hvm"}:
        raise ask.asked.invalid("VirtualizationType")
    _check_boot_mode(ask.asked, image)
    if image.virtualization == "hvm":
        if image.kernel or image.ramdisk:
            message = "An image of type hvm has no kernel and no RAM disk of its own"
            raise NotDoneError("InvalidParameterCombination", message)
        if not image.bundled and image.root.removeprefix("/dev/") not in _ROOTS_OF_HVM:
            message = f"Invalid root device name {image.root}"
            raise NotDoneError("InvalidBlockDeviceMapping", message)
        return
    if image.architecture not in {"i386", "x86_64"}:
        raise NotDoneError("InvalidParameterCombination", f"No paravirtual image is for {image.architecture}")
    if not ask.region.paravirtual:
        message = f"Paravirtual images are not supported in {ask.region.name}"
        raise NotDoneError("UnsupportedOperation", message)
    if image.ramdisk:
        raise NotDoneError("InvalidAMIID.NotFound", f"The image id '[{image.ramdisk}]' does not exist")
    if not image.kernel:
        raise NotDoneError("MissingParameter", "A paravirtual image wants the parameter KernelId")
    _check_kernel(ask, image)


def _check_boot_mode(asked: Asked, image: Image) -> None:
    """Refuse a firmware that there is none of, or that no instance type of the image's kind has."""
    if "BootMode" not in asked:
        return
    mode = asked.text("BootMode")
    if mode not in _BOOT_MODES:
        raise asked.invalid("BootMode")
    if image.virtualization != "hvm":
        raise NotDoneError("InvalidParameterCombination", "A paravirtual image has no boot mode")
    if (image.architecture == "arm64" and mode != "uefi") or (image.architecture == "i386" and mode == "uefi"):
        message = f"The boot mode {mode} is not supported for the architecture {image.architecture}"
        raise NotDoneError("InvalidParameterCombination", message)


def _check_kernel(ask: Ask, image: Image) -> None:
    if not image.kernel.startswith("aki-"):
        raise NotDoneError("InvalidAMIID.Malformed", f'Invalid id: "{image.kernel}" (expecting "aki-...")')
    kernel = ask.region.kernels.get(image.kernel)
    if kernel is None:
        raise NotDoneError("InvalidAMIID.NotFound", f"The image id '[{image.kernel}]' does not exist")
    if kernel.architecture != image.architecture:
        message = f"The kernel {kernel.id} is for {kernel.architecture}, the image for {image.architecture}"
        raise NotDoneError("InvalidParameterCombination", message)


def _mappings(ask: Ask, root: str) -> tuple[Mapping, ...]:
    parts = tuple(_mapping(ask, one, root) for one in ask.asked.parts("BlockDeviceMapping"))
    devices = [part.device for part in parts]
    if len(set(devices)) != len(devices):
        raise NotDoneError("InvalidBlockDeviceMapping", "A device name is there twice")
    return parts


def _mapping(ask: Ask, asked: Asked, root: str) -> Mapping:
    asked.only("DeviceName", "VirtualName", "NoDevice", "Ebs")
    device = asked.needed("DeviceName")
    if not _DEVICE.fullmatch(device):
        raise NotDoneError("InvalidBlockDeviceMapping", f"Invalid device name {device}")
    ways = [name for name in ("VirtualName", "NoDevice", "Ebs") if name in asked]
    if len(ways) != 1:
        raise NotDoneError("InvalidBlockDeviceMapping", f"{device} wants one of VirtualName, NoDevice and Ebs")
    if "VirtualName" in asked and not _EPHEMERAL.fullmatch(asked.text("VirtualName")):
        raise NotDoneError("InvalidBlockDeviceMapping", f"Invalid virtual name {asked.text('VirtualName')}")
    if "Ebs" not in asked:
        return Mapping(device, virtual=asked.text("VirtualName"))
    return _volume(ask, asked.part("Ebs"), device, is_root=device == root)


def _volume(ask: Ask, ebs: Asked, device: str, *, is_root: bool) -> Mapping:
    ebs.only("SnapshotId", "VolumeSize", "VolumeType", "DeleteOnTermination", "Iops", "Throughput", "Encrypted")
    name = ebs.text("SnapshotId")
    kind = ebs.text("VolumeType", "standard")
    if kind not in (_ROOT_TYPES if is_root else _TYPES):
        raise NotDoneError("InvalidParameterValue", f"Invalid volume type '{kind}' for {device}")
    if kind in {"io1", "io2"} and "Iops" not in ebs:
        raise NotDoneError("MissingParameter", f"The parameter iops must be specified for {kind} volumes.")
    encrypted, least = False, 1
    if name:
        if "Encrypted" in ebs:
            message = f"the encrypted flag cannot be specified since device {device} has a snapshot specified."
            raise NotDoneError("InvalidBlockDeviceMapping", message)
        snapshot = ask.region.snapshot(name)
        state = ask.region.ebs.status(snapshot)
        if state != "completed":
            raise NotDoneError("IncorrectState", f"The snapshot '{name}' is not completed, it is {state}.")
        encrypted, least = bool(snapshot.key), snapshot.volume_size
    elif "VolumeSize" not in ebs:
        raise NotDoneError("MissingParameter", f"{device} wants a snapshot or a volume size")
    size = ebs.number("VolumeSize", least)
    if size < least:
        message = f"Volume of size {size}GB is smaller than snapshot '{name}', expect size >= {least}GB"
        raise NotDoneError("InvalidBlockDeviceMapping", message)
    if size > _LARGEST[kind]:
        raise NotDoneError("InvalidParameterValue", f"Volume of {size}GiB is too large for volume type {kind}")
    delete = ebs.flag("DeleteOnTermination", default=True)
    return Mapping(device, name, size, kind, delete, encrypted or ebs.flag("Encrypted"))
