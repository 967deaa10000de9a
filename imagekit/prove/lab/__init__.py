"""The labs: a real Xen and a small Debian dom0, made from Debian 12's packages by name, as an ordinary user."""

from imagekit.prove.lab.arguments import DOM0_ARGUMENTS, xen_arguments
from imagekit.prove.lab.preparation import prepare
from imagekit.prove.lab.stored import Lab, load
from imagekit.prove.lab.variants import HVM, PLAIN, Variant

__all__ = ["DOM0_ARGUMENTS", "HVM", "PLAIN", "Lab", "Variant", "load", "prepare", "xen_arguments"]
