"""The lab: a real Xen and a small Debian dom0, made from Debian 12's packages by name, as an ordinary user."""

from imagekit.prove.lab.arguments import DOM0_ARGUMENTS, DOM0_MEMORY, XEN_ARGUMENTS
from imagekit.prove.lab.names import PACKAGES
from imagekit.prove.lab.preparation import prepare
from imagekit.prove.lab.stored import Lab, load

__all__ = ["DOM0_ARGUMENTS", "DOM0_MEMORY", "PACKAGES", "XEN_ARGUMENTS", "Lab", "load", "prepare"]
