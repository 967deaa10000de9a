"""The files that a boot loader reads to find the kernel: GRUB legacy's menu.lst and GRUB 2's grub.cfg."""

from imagekit.boot.files import BootEntry, boot_files, shadowing
from imagekit.boot.grub import CONSOLES, Command, grub_cfg
from imagekit.boot.pygrub import BEFORE_MENU_LST, MENUS

__all__ = ["BEFORE_MENU_LST", "CONSOLES", "MENUS", "BootEntry", "Command", "boot_files", "grub_cfg", "shadowing"]
