"""Where pygrub looks for a menu, in its order (Xen 4.17, tools/pygrub/src/pygrub, read_config)."""

GRUB_CFG = "/boot/grub/grub.cfg"

BEFORE_MENU_LST = (
    GRUB_CFG,
    "/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/grub2/grub.cfg",
    "/boot/isolinux/isolinux.cfg",
    "/boot/extlinux/extlinux.conf",
    "/boot/extlinux.conf",
    "/extlinux/extlinux.conf",
    "/extlinux.conf",
)
"""What it prefers to /boot/grub/menu.lst, and what would hide a wrong one."""

MENUS = (
    *BEFORE_MENU_LST,
    "/boot/grub/menu.lst",
    "/boot/grub/grub.conf",
    "/grub/menu.lst",
    "/grub/grub.conf",
)
"""All that it looks for."""
