"""Xen's features: their names, and which of them a loader knows."""

_BITS = (
    "writable_page_tables",
    "writable_descriptor_tables",
    "auto_translated_physmap",
    "supervisor_mode_kernel",
    "pae_pgdir_above_4gb",
    "mmu_pt_update_preserve_ad",
    "highmem_assist",
    "gnttab_map_avail_bits",
    "hvm_callback_vector",
    "hvm_safe_pvclock",
    "hvm_pirqs",
    "dom0",
    "grant_map_identity",
    "memory_op_vnode_supported",
    "ARM_SMCCC_supported",
    "linux_rsdp_unrestricted",
    "not_direct_mapped",
    "direct_mapped",
)  # xen/include/public/features.h

REQUIRABLE = frozenset(
    {
        "writable_page_tables",
        "writable_descriptor_tables",
        "auto_translated_physmap",
        "supervisor_mode_kernel",
        "pae_pgdir_above_4gb",
        "hvm_callback_vector",
        "dom0",
    }
)
"""What a kernel may require by "!": a loader refuses another name (libelf, elf_xen_feature_names)."""


def feature_names(text: str, bits: int) -> tuple[str, ...]:
    """Return the names in "a|!b|c", and then those of the bits that are not among them."""
    named = tuple(name for name in text.split("|") if name)
    plain = {name.removeprefix("!") for name in named}
    told = (name for bit, name in enumerate(_BITS) if bits >> bit & 1)
    return named + tuple(name for name in told if name not in plain)


def required(features: tuple[str, ...]) -> frozenset[str]:
    """Return the names of what a kernel cannot do without."""
    return frozenset(name[1:] for name in features if name.startswith("!"))
