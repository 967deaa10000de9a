"""The recipe: what to build, as typed models. TOML in, JSON Schema out.

A recipe with `[[image]]` tables makes one image for each; what stands outside of them holds for all. Without such
a table it makes one image, named after the file.
"""

from imagekit.recipe.load import epoch, from_kernel, read, resolved, setting, stem
from imagekit.recipe.models import Ami, Image, OpenStack, Recipe, schema
from imagekit.recipe.public_key import KEY_HINT, public_key
from imagekit.recipe.publishing import (
    Publish,
    PublishAmi,
    PublishEbs,
    PublishOpenstack,
    PublishRackspace,
    PublishXcp,
    PublishXen,
)
from imagekit.recipe.sources import check_sources, named_sources
from imagekit.recipe.systems import DISKIMAGE_BUILDER, DiskImageBuilder
from imagekit.recipe.values import MBR_LARGEST, MIB, parse_size
from imagekit.recipe.xcp import Xcp

__all__ = [
    "DISKIMAGE_BUILDER",
    "KEY_HINT",
    "MBR_LARGEST",
    "MIB",
    "Ami",
    "DiskImageBuilder",
    "Image",
    "OpenStack",
    "Publish",
    "PublishAmi",
    "PublishEbs",
    "PublishOpenstack",
    "PublishRackspace",
    "PublishXcp",
    "PublishXen",
    "Recipe",
    "Xcp",
    "check_sources",
    "epoch",
    "from_kernel",
    "named_sources",
    "parse_size",
    "public_key",
    "read",
    "resolved",
    "schema",
    "setting",
    "stem",
]
