"""The recipe as typed models: what may be said, in which words, and what holds where nothing is said."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from imagekit.recipe.base import Model
from imagekit.recipe.devices import Address, Bridge, DiskPath, Mac, Script, Vdev
from imagekit.recipe.public_key import PublicKey
from imagekit.recipe.publishing import Publish
from imagekit.recipe.qubes import Qubes
from imagekit.recipe.systems import DiskImageBuilder, RootFrom
from imagekit.recipe.values import (
    MIB,
    BlockSize,
    BootSize,
    HostPath,
    ImagePath,
    KernelPath,
    Memory,
    Size,
    SizeOrAuto,
    VolumeName,
)
from imagekit.recipe.xcp import Xcp


class Files(Model):
    """Files of the user's own: a folder, a tar or a single file, and where it goes in the image."""

    source: HostPath = Field(alias="from", description="A folder, a tar (plain, gz, bz2, xz, zst) or a file.")
    to: ImagePath = Field(
        default="/", description="Where it goes. A file goes into a path that ends with /, else it gets that name."
    )
    owner: str | None = Field(
        default=None, pattern=r"^[0-9]{1,9}:[0-9]{1,9}$", description='"UID:GID", of all of it.'
    )
    mode: str | None = Field(default=None, pattern=r"^[0-7]{3,4}$", description='"0600": of a single file.')


_Text = Annotated[str, Field(min_length=1, max_length=65536)]
_Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, min_length=1)]


class Command(Model):
    """A command that runs in the tree."""

    run: _Text | _Words = Field(description="For /bin/sh -e, or a list: a program and its arguments.")
    network: bool = Field(default=False, description="The host's network, and its resolv.conf meanwhile.")
    timeout: int = Field(default=600, ge=1, le=86400, description="Seconds.")
    environment: dict[str, str] = Field(
        default_factory=dict, description="Variables beside PATH, HOME, LC_ALL, TZ, SOURCE_DATE_EPOCH."
    )


class Ssh(Model):
    """Who may log in by SSH."""

    user: str = Field(default="root", pattern=r"^[a-z_][a-z0-9_-]{0,31}$", description="One of the tree's own.")
    keys: tuple[PublicKey, ...] = Field(
        strict=False, min_length=1, description='Public keys ("ssh-ed25519 AAAA…"), or their files.'
    )


class Root(Model):
    """What goes into the file system beside the kernel."""

    source: RootFrom = Field(
        default=None,
        alias="from",
        description="An operating system's tree: a tar, an OCI image layout, a folder, or the word "
        "`diskimage-builder`. Its kernel and initrd boot, unless `kernel` names one of yours. The word `kernel`: "
        "no tree. A folder of such a name is ./kernel.",
    )
    tag: str | None = Field(
        default=None, min_length=1, description="Which image, where `from` is an OCI image layout of several."
    )
    diskimage_builder: DiskImageBuilder = Field(
        default_factory=DiskImageBuilder.model_construct,
        alias="diskimage-builder",
        description="What `diskimage-builder` makes.",
    )
    kernel: KernelPath | None = Field(
        default=None,
        description="The kernel's path in the image. Default: /boot/NAME.xen, or the newest of `from`.",
    )
    files: tuple[Files, ...] = Field(
        default=(), strict=False, description="In order; later ones replace earlier ones."
    )
    run: tuple[Command, ...] = Field(
        default=(), strict=False, description="Commands in the tree of `from`, in order, after `files`."
    )
    hostname: str | None = Field(
        default=None,
        max_length=64,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$",
        description="Into /etc/hostname, and /etc/hosts as 127.0.1.1.",
    )
    ssh: tuple[Ssh, ...] = Field(default=(), strict=False, description="Who may log in, and with which keys.")

    @property
    def tree(self) -> Path | None:
        """The tree's path, where it lies somewhere."""
        return self.source if isinstance(self.source, Path) else None


class Filesystem(Model):
    """The file system."""

    type: Literal["ext2", "ext3", "ext4", "fat16", "fat32", "xfs", "btrfs", "jfs", "reiserfs"] = Field(
        default="ext2",
        description="Amazon's PV-GRUB reads no FAT; no loader reads today's xfs, or btrfs: see `disk.boot`.",
    )
    maker: Literal["auto", "guestfs"] = Field(
        default="auto",
        description="auto: e2fsprogs for ext, mtools for FAT, guestfs (a Linux in QEMU) for the rest and LVM.",
    )
    size: SizeOrAuto = Field(default=None, description='Bytes, "64MiB", or "auto": what the disk has room for.')
    free: Size = Field(
        default=MIB, description="Free space to leave, where the size is automatic. 5 % come on top."
    )
    label: str = Field(
        default="",
        max_length=16,
        pattern=r"^[A-Za-z0-9_.-]*$",
        description="FAT: 11 characters, no full stop; xfs: 12.",
    )
    block_size: BlockSize = Field(
        default=0, description="Bytes (FAT: a cluster). 0: 1024 below 512 MiB, else 4096."
    )


class Lvm(Model):
    """A volume group that fills the partition (or, without a table, the disk), with one volume: the root."""

    group: VolumeName = Field(default="vg0", description="The volume group's name.")
    volume: VolumeName = Field(default="root", description="The logical volume's name.")


class Disk(Model):
    """The disk around the file system."""

    layout: Literal["auto", "plain", "mbr", "gpt"] = Field(
        default="auto",
        description="plain: the file system is the whole disk. auto: mbr for an HVM guest and with `boot`, else "
        "plain. GPT wants PV-GRUB 1.04 or later.",
    )
    size: SizeOrAuto = Field(default=None, description='Bytes, "2GiB", or "auto": what the content needs.')
    boot: BootSize = Field(
        default=0,
        description='"64MiB": an ext2 partition with all of /boot before the root\'s, for loaders that cannot '
        "read the root. Not for plain.",
    )
    lvm: Lvm | None = Field(default=None, description="The root on LVM; an empty table takes the names below.")
    path: DiskPath | None = Field(
        default=None, description="Where the host keeps the image. Default: /var/lib/xen/images/NAME.xen.raw."
    )

    @property
    def table(self) -> Literal["plain", "mbr", "gpt"]:
        """The layout; of auto, what is left where no guest asks for more."""
        if self.layout == "auto":
            return "mbr" if self.boot else "plain"
        return self.layout


class Vif(Model):
    """A virtual network interface, in the words of xl's network configuration."""

    bridge: Bridge | None = None
    mac: Mac | None = None
    ip: Address | None = None
    script: Script | None = None


class ExtraDisk(Model):
    """One more disk of the guest, which lies on the host already."""

    path: DiskPath
    vdev: Vdev
    access: Literal["ro", "rw"] = "rw"
    format: Literal["raw", "qcow2", "vhd"] = "raw"


class Xen(Model):
    """What only the xen target reads."""

    loader: Literal["pygrub", "direct"] = Field(
        default="pygrub",
        description="pygrub takes the kernel from the disk; direct takes it from a file on the host.",
    )
    kernel_path: str | None = Field(
        default=None, description="direct: the kernel on the host. Default: /var/lib/xen/images/NAME.xen."
    )


class OpenStack(Model):
    """What only the openstack target reads."""

    format: Literal["ovf", "vhd", "raw"] = Field(
        default="ovf",
        description="XenServer below: ovf, the .tgz of a VHD that Nova unpacks there. libxl below: raw. "
        "vhd: the VHD as it is, for a cloud that says it takes that.",
    )


class Prove(Model):
    """What `imagekit prove` and `build --prove` want to see at boot. Nothing said: a clean power-off."""

    expect: str = Field(default="", max_length=4096, description="What the guest says on its console.")
    power_off: bool = Field(default=False, description="It powers off cleanly after that.")
    timeout: int = Field(default=60, ge=1, le=86400, description="Seconds.")
    network: str | None = Field(
        default=None,
        description="dom0's address, such as 10.0.0.1/24. DHCP offers the guest the next one.",
    )
    get: str | None = Field(default=None, description="A URL of the guest that has to answer.")
    expect_body: str = Field(default="", description="What is in the answer.")


class Ami(Model):
    """With which keys the ami target makes a bundle. The environment's EC2_… go before these."""

    private_key: HostPath | None = Field(
        default=None, description="The user's RSA key, PEM. Or EC2_PRIVATE_KEY; `imagekit keys new` makes one."
    )
    cert: HostPath | None = Field(
        default=None, description="The user's certificate, only held against the key. Or EC2_CERT."
    )
    user: str | None = Field(default=None, description="The AWS account's 12 digits. Or EC2_USER.")
    ec2_cert: HostPath | None = Field(
        default=None, description="EC2's own certificate, cert-ec2.pem of ec2-ami-tools or euca2ools."
    )
    kernel: str | None = Field(
        default=None, pattern=r"^aki-[0-9a-f]{8,17}$", description="PV-GRUB's. Default: `publish` finds it."
    )
    secrets: HostPath | None = Field(
        default=None,
        description="AES key and IV, 32 hex characters each. Default: made from image and private key.",
    )


class Provenance(Model):
    """The paper trail beside an artifact, as `build --provenance` writes it."""

    write: bool = Field(default=False, description="Sums, statement and SBOM, whether or not it is asked for.")
    builder: str = Field(
        default="urn:imagekit:builder:local",
        pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:[!-~]+$",
        max_length=1024,
        description="The URI of who builds, SLSA's builder.id: what a verifier trusts.",
    )


class Matrix(BaseModel):
    """Beside `exclude` any key of the recipe, dotted, with a list of values: an image for each combination."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        json_schema_extra={"additionalProperties": {"type": ["array", "object"]}},
    )

    exclude: tuple[dict[str, Any], ...] = Field(
        default=(), description='Combinations to leave out: `[{ kernel = "a.xen", disk.layout = "gpt" }]`.'
    )


class Image(Model):
    """One image: a kernel, what goes with it, and the systems to build it for."""

    name: str | None = Field(
        default=None,
        pattern=r"^([A-Za-z0-9]|\{[\w.-]+\})([A-Za-z0-9._-]|\{[\w.-]+\}){0,62}$",
        description="Default: the file's stem. With a matrix: `{kernel}-{memory}` takes the values of its axes.",
    )
    matrix: Matrix | None = Field(default=None, description="Several images, of all combinations of values.")
    kernel: HostPath | None = Field(
        default=None, description="The .xen file. Relative to the recipe. May be left out with `root.from`."
    )
    ramdisk: HostPath | None = Field(default=None, description="An initrd, for kernels that take one.")
    targets: tuple[str, ...] = Field(
        default=("xen",), strict=False, min_length=1, description="`imagekit targets` lists them."
    )
    boot: Literal["auto", "pv", "pvh", "hvm"] = Field(
        default="auto",
        description="The kind of guest. auto: PV where kernel and system can, else PVH, else HVM, which boots by "
        "GRUB in the disk's boot sector.",
    )
    cmdline: Annotated[str, AfterValidator(str.strip)] = Field(
        default="",
        max_length=4095,
        description="The kernel's command line, without its path. Spaces around it do not count.",
    )
    memory: Memory = Field(default=64 * MIB, description="Of the guest. Whole MiB.")
    vcpus: int = Field(default=1, ge=1, le=512)
    root: Root = Field(default_factory=Root.model_construct)
    filesystem: Filesystem = Field(default_factory=Filesystem.model_construct)
    disk: Disk = Field(default_factory=Disk.model_construct)
    vif: tuple[Vif, ...] = Field(default=(), strict=False)
    extra_disk: tuple[ExtraDisk, ...] = Field(default=(), strict=False)
    xen: Xen = Field(default_factory=Xen.model_construct)
    ami: Ami = Field(default_factory=Ami.model_construct)
    xcp: Xcp = Field(default_factory=Xcp.model_construct)
    openstack: OpenStack = Field(default_factory=OpenStack.model_construct)
    qubes: Qubes = Field(default_factory=Qubes.model_construct)
    prove: Prove = Field(default_factory=Prove.model_construct)
    provenance: Provenance = Field(default_factory=Provenance.model_construct)
    publish: Publish = Field(default_factory=Publish.model_construct)


class Recipe(Image):
    """A whole recipe file."""

    variables: tuple[str, ...] = Field(
        default=(), strict=False, description="Environment variables that ${NAME} in a text may stand for."
    )
    image: tuple[Image, ...] = Field(default=(), strict=False, description="Several images in one file.")


class _Schema(GenerateJsonSchema):
    """TOML has no null: a key may be left out, but it never is null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        return {key: value for key, value in found.items() if key != "default" or value is not None}


def schema() -> dict[str, Any]:
    """Return the recipe's JSON Schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Recipe.model_json_schema(by_alias=True, schema_generator=_Schema),
        "title": "imagekit recipe",
    }
