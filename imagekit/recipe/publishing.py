"""What a recipe says of publishing, a table a target."""

from typing import Annotated, Literal

from pydantic import Field

from imagekit.recipe.base import Model
from imagekit.recipe.devices import DiskPath
from imagekit.recipe.values import MIB, HostPath, Size

Region = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$")]
CloudRegion = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,255}$")]
CloudTag = Annotated[str, Field(min_length=1, max_length=255)]
Fingerprint = Annotated[str, Field(pattern=r"^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$")]
InstanceType = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}\.[a-z0-9-]{1,32}$")]
AccountId = Annotated[str, Field(pattern=r"^[0-9]{12}$")]

# No space, no quote, no option: what ssh(1) would take for a user, a host and a port.
_USER, _NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*", r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_HOST = rf"^(({_USER}@)?({_NAME}|[0-9a-fA-F]*:[0-9a-fA-F:.]+)|ssh://({_USER}@)?({_NAME}|\[[0-9a-fA-F:.]+\])(:[0-9]{{1,5}})?/?)$"


class PublishEbs(Model):
    """How `imagekit publish` registers an EBS volume image with EC2."""

    regions: tuple[Region, ...] = Field(
        default=(), strict=False, description="Where to. Default: the one that the AWS settings name."
    )
    copy_snapshot: bool = Field(
        default=False, description="Upload to the first region, and have AWS copy the snapshot to the others."
    )
    name: str | None = Field(
        default=None, min_length=3, max_length=128, description="Of the AMI. Default: NAME and the digest's start."
    )
    on_name_clash: Literal["fail", "reuse", "suffix"] = Field(
        default="fail", description="When another image has the name: fail, return it, or append -2, -3…"
    )
    description: str = Field(default="", max_length=255)
    tags: dict[str, str] = Field(default_factory=dict, description="Of image and snapshot.")
    kernel: str | None = Field(
        default=None,
        pattern=r"^aki-[0-9a-f]{8,17}$",
        description="Of a PV image. Default: Amazon's newest PV-GRUB (hd0).",
    )
    root_device: str | None = Field(
        default=None,
        pattern=r"^/dev/(sd|xvd)[a-z][0-9]{0,2}$",
        description=(
            "Default: /dev/xvda for HVM, which may be /dev/sda1 and no other; for PV /dev/sda1 of a whole disk, "
            "/dev/sda of a partitioned one."
        ),
    )
    volume_type: Literal["standard", "gp2", "io1", "st1", "sc1", "gp3"] = "gp2"
    encrypted: bool | None = Field(default=None, description="Default: as the account has it.")
    kms_key: str | None = Field(
        default=None, pattern=r"^arn:aws[a-z-]*:kms:", description="Encrypts, with this key."
    )
    parent: str | None = Field(
        default=None,
        pattern=r"^snap-[0-9a-f]{8,17}$",
        description="Only the blocks that differ from this snapshot are sent.",
    )
    instance_types: tuple[InstanceType, ...] = Field(
        default=(),
        strict=False,
        description="It is to run on these, or nothing is sent.",
    )
    share_with: tuple[AccountId, ...] = Field(default=(), strict=False, description="Accounts that may launch it.")
    public: bool = Field(default=False, description="Everybody may launch it.")
    deprecate_at: str | None = Field(
        default=None, pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?Z$", description="2027-01-01T00:00Z."
    )
    workers: int = Field(default=64, ge=1, le=256, description="Blocks under way at a time.")
    uploader: Literal["direct", "boto3"] = Field(default="direct", description="What puts the blocks.")


class PublishAmi(Model):
    """How `imagekit publish` uploads and registers an AMI bundle, for EC2's instance store."""

    bucket: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="In S3.")
    prefix: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9!_.()/-]*$",
        description="Of the keys in the bucket. Default: NAME-DIGEST/, a folder of its own.",
    )
    name: str | None = Field(
        default=None, min_length=3, max_length=128, description="Of the AMI. Default: NAME and the digest's start."
    )
    on_name_clash: Literal["fail", "reuse", "suffix"] = Field(
        default="fail", description="When another image has the name: fail, return it, or append -2, -3…"
    )
    description: str = Field(default="", max_length=255)
    tags: dict[str, str] = Field(default_factory=dict, description="Of the image.")
    kernel: str | None = Field(
        default=None,
        pattern=r"^aki-[0-9a-f]{8,17}$",
        description="Default: the bundle's, or PV-GRUB (hd0).",
    )
    instance_types: tuple[InstanceType, ...] = Field(
        default=(),
        strict=False,
        description="It is to run on these, or nothing is sent.",
    )
    share_with: tuple[AccountId, ...] = Field(default=(), strict=False, description="Accounts that may launch it.")
    public: bool = Field(default=False, description="Everybody may launch it.")
    deprecate_at: str | None = Field(
        default=None, pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?Z$", description="2027-01-01T00:00Z."
    )
    workers: int = Field(default=8, ge=1, le=64, description="Parts under way at a time.")


class PublishXen(Model):
    """How `imagekit publish` brings an image to a Xen host, over SSH."""

    host: str | None = Field(
        default=None,
        pattern=_HOST,
        description="[USER@]HOST or ssh://[USER@]HOST[:PORT]; ~/.ssh/config knows the rest, as ssh does.",
    )
    folder: DiskPath | None = Field(
        default=None, description="Of image and configuration on the host. Default: that of disk.path."
    )
    start: bool = Field(default=False, description="Start the domain, and see that it lives.")
    replace: bool = Field(
        default=False,
        description="Start it in place of the one of its name, which goes when this one lives, else comes back.",
    )
    watch: int = Field(
        default=5, ge=1, le=600, description="Seconds that a started domain is watched for its end."
    )


class PublishXcp(Model):
    """How `imagekit publish` brings a disk, and its VM, to a pool of XenServer's kin, over XAPI.

    The password is in no recipe: XAPI_PASSWORD, or a file that only you can read.
    """

    host: str | None = Field(
        default=None,
        pattern=rf"^(https://)?({_NAME}|\[[0-9a-fA-F:]+\]|[0-9a-fA-F]*:[0-9a-fA-F:.]+)(:[0-9]{{1,5}})?/?$",
        description="The pool's master, or any of its hosts.",
    )
    user: str | None = Field(default=None, description="Default: XAPI_USER, the credentials file's, root.")
    credentials: HostPath | None = Field(
        default=None, description="username=… and password=…, as in xe's ~/.xe, which is the default. Mode 0600."
    )
    fingerprints: tuple[Fingerprint, ...] = Field(
        default=(),
        strict=False,
        description="SHA-256 of the hosts' certificates. Without any and without `ca`, you are asked once.",
    )
    ca: HostPath | None = Field(default=None, description="PEM: who has signed the hosts' certificates.")
    sr: str | None = Field(
        default=None, min_length=1, description="Storage repository, by name or UUID. Default: the pool's default."
    )
    vm: bool = Field(default=False, description="Make a VM with the disk.")
    start: bool = Field(default=False, description="Make it, start it, and see that it lives.")
    replace: bool = Field(
        default=False, description="The VM takes the place of the one of its name that imagekit made, which goes."
    )
    watch: int = Field(default=5, ge=1, le=600, description="Seconds that a started VM is watched for its end.")
    check: bool = Field(default=False, description="Read the disk back, all of it, and compare.")
    patience: int = Field(
        default=120, ge=1, le=3600, description="Seconds that a host may take nothing of the disk, or not end."
    )
    ssh: str | None = Field(
        default=None,
        pattern=_HOST,
        description='dom0, for `xcp.loader = "direct"`: [USER@]HOST. Default: root at the pool\'s master.',
    )
    guest_folder: DiskPath | None = Field(
        default=None, description="Of kernels in dom0. Default: /var/lib/xcp/guest or, before 2024, /boot/guest."
    )


class _PublishCloud(Model):
    """What OpenStack's clouds share. The SDK's own files and variables name the account: clouds.yaml, OS_*."""

    os_cloud: str | None = Field(
        default=None,
        min_length=1,
        description="Of clouds.yaml. Default: OS_CLOUD, or what the OS_* variables say.",
    )
    regions: tuple[CloudRegion, ...] = Field(
        default=(), strict=False, description="Where to. Default: the cloud's own region."
    )
    name: str | None = Field(
        default=None, min_length=1, max_length=255, description="Of the image. Default: the image's own."
    )
    properties: dict[str, str] = Field(
        default_factory=dict, description="Of the image, over those that Xen needs."
    )
    container: str = Field(
        default="imagekit", pattern=r"^[^/]{1,256}$", description="In Swift, for what the cloud takes from there."
    )
    segment: Size = Field(
        default=256 * MIB, ge=MIB, le=5 * 10**9, description="Bytes of an object's segment, where it is larger."
    )
    workers: int = Field(default=4, ge=1, le=32, description="Segments under way at a time.")
    hypervisor: Literal["auto", "xen"] = Field(
        default="auto",
        description="auto: a cloud that says it runs something else is refused. xen: it is not asked.",
    )
    patience: int = Field(
        default=3600, ge=1, le=86400, description="Seconds that the cloud may take for an import, or for a server."
    )
    start: bool = Field(default=False, description="Boot a server from the image, and see that it lives.")
    flavor: str | None = Field(default=None, min_length=1, description="Of that server, by name or id.")
    network: str | None = Field(
        default=None, min_length=1, description="Of that server, by name or id. Default: none."
    )
    watch: int = Field(
        default=5, ge=1, le=600, description="Seconds that a started server is watched for its end."
    )


class PublishRackspace(_PublishCloud):
    """How `imagekit publish` imports a VHD into Rackspace's cloud, through Cloud Files."""


class PublishOpenstack(_PublishCloud):
    """How `imagekit publish` uploads an image to an OpenStack on Xen."""

    method: Literal["direct", "staged", "web-download"] = Field(
        default="direct",
        description="How the data go to Glance: as they are, by its staged import, or through Swift.",
    )
    visibility: Literal["private", "shared", "community", "public"] = "private"
    tags: tuple[CloudTag, ...] = Field(default=(), strict=False, description="Of the image.")


class Publish(Model):
    """What `imagekit publish` does, a table a target."""

    ebs: PublishEbs = Field(default_factory=PublishEbs.model_construct)
    ami: PublishAmi = Field(default_factory=PublishAmi.model_construct)
    xen: PublishXen = Field(default_factory=PublishXen.model_construct)
    xcp: PublishXcp = Field(default_factory=PublishXcp.model_construct)
    openstack: PublishOpenstack = Field(default_factory=PublishOpenstack.model_construct)
    rackspace: PublishRackspace = Field(default_factory=PublishRackspace.model_construct)
