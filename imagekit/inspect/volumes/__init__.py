"""The file systems of an image: opened where we can look inside, else named."""

from imagekit.inspect.volumes.base import Node, Run, Volume
from imagekit.inspect.volumes.ext import ExtVolume
from imagekit.inspect.volumes.ext_layout import read_layout
from imagekit.inspect.volumes.fat import FatVolume, read_fat
from imagekit.inspect.window import Window

__all__ = ["Node", "Run", "Volume", "open_volume"]


def open_volume(window: Window) -> Volume | None:
    """Return the file system in a window, ready to be looked through; None when it is of no kind that we read."""
    layout = read_layout(window)
    if layout is not None:
        return ExtVolume(layout)
    fat = read_fat(window)
    return FatVolume(fat) if fat is not None else None
