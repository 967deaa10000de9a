"""From a Xen kernel to an image that boots."""

__version__ = "0.1.0"
