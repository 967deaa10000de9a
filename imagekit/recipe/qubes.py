"""What only the qubes target reads."""

from typing import Annotated, Literal

from pydantic import Field

from imagekit.recipe.base import Model
from imagekit.recipe.devices import NetVm, QubeName

_Feature = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
_FeatureValue = Annotated[str, Field(pattern=r"^([ -,.-~][ -~]*)?$")]  # printable; a hyphen would begin an option


class Qubes(Model):
    """What only the qubes target reads: the qube that the commands beside the artifact make."""

    format: Literal["kernel", "template"] = Field(
        default="kernel",
        description="kernel: a folder for dom0's vm-kernels, in a tar; no disk, no files. "
        "template: a root volume, whose kernel Qubes' GRUB for PVH starts.",
    )
    name: QubeName | None = Field(
        default=None, description="Of the qube, and of the kernel in dom0. Default: the image's."
    )
    label: Literal["red", "orange", "yellow", "green", "gray", "blue", "purple", "black"] = "red"
    netvm: NetVm | None = Field(
        default=None, description='Where its network comes from; "": nowhere. Default: what Qubes takes.'
    )
    provides_network: bool = Field(default=False, description="Other qubes may have it for their netvm.")
    features: dict[_Feature, _FeatureValue] = Field(
        default_factory=dict, description='For qvm-features: `{ qubes-firewall = "1" }`.'
    )
