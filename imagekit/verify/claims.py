"""What a sidecar claims, typed. Anyone may have edited it: what comes through here is safe to act on."""

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from imagekit.artifact import Sidecar
from imagekit.disk import Layout
from imagekit.errors import VerificationError
from imagekit.filesystem import Type
from imagekit.kernel import Way
from imagekit.plan import Json
from imagekit.sparse import BlockMap


def _printable(text: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError("no control characters")
    return text


def _suffix(text: str) -> str:
    # It is put behind the main file's name: nothing in it may lead elsewhere.
    if not re.fullmatch(r"(\.[a-z0-9]+)+", text):
        raise ValueError("a companion's suffix is made of dots, letters and digits")
    return text


Text = Annotated[str, AfterValidator(_printable)]
AbsolutePath = Annotated[str, AfterValidator(_printable), Field(pattern="^/")]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Uuid = Annotated[str, Field(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
VolumeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_+][A-Za-z0-9_+.-]{0,62}$")]
Suffix = Annotated[str, AfterValidator(_suffix)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Kernel(_Model):
    """The kernel: its digest, its path in the image; the rest are its facts."""

    model_config = ConfigDict(extra="allow")

    digest: Digest
    path: AbsolutePath

    @property
    def facts(self) -> Mapping[str, Json]:
        """The facts, as `KernelFacts.from_json` takes them."""
        return self.model_extra or {}


class Filesystem(_Model):
    """The file system. FAT's volume id is the first four bytes of `uuid`."""

    type: Type
    label: Text
    uuid: Uuid


class BootPartition(_Model):
    """An ext2 file system for /boot, `size` bytes before the root's."""

    size: Annotated[int, Field(gt=0, le=1 << 40)]
    label: Text
    uuid: Uuid

    @property
    def filesystem(self) -> Filesystem:
        """What is there."""
        return Filesystem(type="ext2", label=self.label, uuid=self.uuid)


class Volume(_Model):
    """The volume group and the volume that the root's file system lies on."""

    group: VolumeName
    volume: VolumeName


class Disk(_Model):
    """Where things lie: `offset` in bytes, `identity` 32 bytes in hexadecimal, None without a table."""

    disk: Layout
    identity: Digest | None
    offset: Annotated[int, Field(ge=0, le=1 << 40)]
    filesystem: Filesystem
    boot: BootPartition | None = None
    lvm: Volume | None = None


class Boot(_Model):
    """How it boots. `memory` is in bytes; `path` is where the host keeps the image."""

    guest: Literal["pv", "pvh", "hvm"]
    way: Annotated[Way, Field(strict=False)]
    cmdline: Text
    memory: Annotated[int, Field(gt=0)]
    vcpus: Annotated[int, Field(gt=0)]
    path: AbsolutePath | None = None


class File(_Model):
    """A main file that wraps the disk, or a kernel."""

    model_config = ConfigDict(from_attributes=True)

    form: Literal["vhd", "xva", "ovf", "vm-kernel"]
    digest: Digest
    length: Annotated[int, Field(ge=0)]


class Claims(_Model):
    """All that a sidecar says."""

    image: Text
    target: Text
    architecture: Literal["x86_64", "i386"]
    kernel: Kernel
    placed: Disk | None = Field(validation_alias="layout")
    boot: Boot
    digest: Digest
    length: Annotated[int, Field(ge=0)]
    companions: dict[Suffix, Digest]
    blocks: BlockMap | None
    file: File | None

    @property
    def layout(self) -> Disk:
        """Where things lie on the disk; VerificationError of an artifact that has none."""
        if self.placed is None:
            raise VerificationError(f"the sidecar of {self.image} tells of no disk")
        return self.placed

    @classmethod
    def of(cls, sidecar: Sidecar) -> "Claims":
        """Return what a sidecar claims; VerificationError names the first claims that no image can fulfil."""
        try:
            return cls.model_validate({item.name: getattr(sidecar, item.name) for item in fields(sidecar)})
        except ValidationError as error:
            wrong = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
            raise VerificationError(
                "the sidecar says what cannot be",
                details="\n".join(wrong[:5]),
                hint="build the image again, or remove the sidecar and name the --target",
            ) from None
