"""What only the xcp target reads."""

from typing import Literal

from pydantic import Field

from imagekit.recipe.base import Model
from imagekit.recipe.devices import Bridge, Mac


class XcpVif(Model):
    """A virtual network interface on a network of the pool's: its name, or its bridge."""

    network: str | None = Field(default=None, min_length=1, max_length=255, description="The network's name.")
    bridge: Bridge | None = None
    mac: Mac | None = Field(default=None, description="Default: the host makes one up.")
    mtu: int = Field(default=1500, ge=68, le=65535)


class Xcp(Model):
    """What only the xcp target reads: the VM, for an upload and for an XVA alike."""

    format: Literal["vhd", "raw", "xva"] = Field(default="vhd", description="An XVA is a disk and its VM.")
    packing: Literal["none", "gzip", "zstd"] = Field(
        default="none", description="Of an XVA. zstd is for XCP-ng 8 and Citrix Hypervisor 8, and later."
    )
    loader: Literal["pygrub", "direct"] = Field(
        default="pygrub",
        description="pygrub takes the kernel from the disk; direct from a file in dom0, brought there over SSH.",
    )
    description: str = Field(default="", max_length=1024)
    tags: tuple[str, ...] = Field(default=(), strict=False)
    platform: dict[str, str] = Field(
        default_factory=dict, description="Flags over those that the kind of guest needs."
    )
    vif: tuple[XcpVif, ...] = Field(default=(), strict=False)
