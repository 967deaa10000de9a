"""Whole operating systems, made here as trees: by diskimage-builder, from elements and packages."""

from imagekit.systems.needs import lacking, refused
from imagekit.systems.tree import tree_step, write_tree

__all__ = ["lacking", "refused", "tree_step", "write_tree"]
