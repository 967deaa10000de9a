/* How every sample kernel is laid out; the C preprocessor makes the linker script of each from it.
 * BASE: where the kernel starts. NOTES: whether there is a note segment. */
OUTPUT_FORMAT("elf64-x86-64")
ENTRY(_start)

PHDRS
{
        text PT_LOAD FLAGS(5);
        data PT_LOAD FLAGS(6);
#if NOTES
        note PT_NOTE FLAGS(4);
#endif
}

SECTIONS
{
        . = BASE;
        image_start = .;
        /* At 4 KiB in the file, after the ELF headers, so that a multiboot header lies in the first 8 KiB. */
        .text : { *(.text.start) *(.text) } :text
        /* The second page, as hello.S says in its __xen_guest. */
        .hypercall ALIGN(4096) : { *(.hypercall) } :text
        .rodata : { *(.rodata) } :text
#if NOTES
        .note.Xen : { *(.note.Xen) } :text :note
#endif
        .data ALIGN(4096) : { *(.data) } :data
        data_end = .;
        .bss : { *(.bss) } :data
        bss_end = .;
        __xen_guest 0 : { *(__xen_guest) } :NONE
        /DISCARD/ : { *(.note.gnu.*) *(.note.GNU-stack) *(.comment) }
}

ASSERT(SIZEOF(.text) <= 4096, "the code has outgrown its page: HYPERCALL_PAGE in hello.S is wrong now")
