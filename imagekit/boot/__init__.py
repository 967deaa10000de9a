"""The files that a boot loader reads to find the kernel: GRUB legacy's menu.lst and GRUB 2's grub.cfg."""

from imagekit.boot.files import BootEntry, boot_files, shadowing

__all__ = ["BootEntry", "boot_files", "shadowing"]
