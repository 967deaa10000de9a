"""The feature bits of ext2, ext3 and ext4, by the names that e2fsprogs gives them.

https://docs.kernel.org/filesystems/ext4/super.html: s_feature_compat, s_feature_incompat, s_feature_ro_compat.
"""

from typing import NamedTuple

HAS_JOURNAL = 0x4
RESIZE_INODE = 0x10
SPARSE_SUPER2 = 0x200
META_BG = 0x10
WIDE = 0x80
SPARSE_SUPER = 0x1
BIGALLOC = 0x200
UNINITIALISED_GROUPS = 0x10 | 0x400

# What the ext2 and ext3 drivers know: any other feature makes it ext4 (as blkid decides).
_OLD_INCOMPATIBLE = 0x2 | 0x4 | META_BG
_OLD_READ_ONLY = 0x1 | 0x2 | 0x4

_NAMES = (
    {
        0x1: "dir_prealloc",
        0x4: "has_journal",
        0x8: "ext_attr",
        0x10: "resize_inode",
        0x20: "dir_index",
        0x200: "sparse_super2",
        0x400: "fast_commit",
        0x800: "stable_inodes",
        0x1000: "orphan_file",
    },
    {
        0x1: "compression",
        0x2: "filetype",
        0x4: "needs_recovery",
        0x8: "journal_dev",
        0x10: "meta_bg",
        0x40: "extent",
        0x80: "64bit",
        0x100: "mmp",
        0x200: "flex_bg",
        0x400: "ea_inode",
        0x1000: "dirdata",
        0x2000: "metadata_csum_seed",
        0x4000: "large_dir",
        0x8000: "inline_data",
        0x10000: "encrypt",
        0x20000: "casefold",
    },
    {
        0x1: "sparse_super",
        0x2: "large_file",
        0x8: "huge_file",
        0x10: "uninit_bg",
        0x20: "dir_nlink",
        0x40: "extra_isize",
        0x100: "quota",
        0x200: "bigalloc",
        0x400: "metadata_csum",
        0x1000: "read-only",
        0x2000: "project",
        0x8000: "verity",
        0x10000: "orphan_present",
    },
)


class Features(NamedTuple):
    """The three words of feature bits."""

    compatible: int
    incompatible: int
    read_only: int

    @property
    def kind(self) -> str:
        """`ext2`, `ext3` or `ext4`."""
        if self.incompatible & ~_OLD_INCOMPATIBLE or self.read_only & ~_OLD_READ_ONLY:
            return "ext4"
        return "ext3" if self.compatible & HAS_JOURNAL else "ext2"

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, unknown ones by their bit."""
        return tuple(
            names.get(1 << bit, f"feature {1 << bit:#x}")
            for names, word in zip(_NAMES, self, strict=True)
            for bit in range(32)
            if word >> bit & 1
        )
