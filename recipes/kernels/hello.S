/* hello.xen: a 64-bit Xen PV kernel that says who it is, its command line and its memory, and powers off.
 *
 * Xen enters a PV kernel in 64-bit mode with paging on, %rsi = struct start_info. Virtual addresses start at 0
 * (VIRT_BASE), as Mini-OS and Mirage have it, so the address of a pseudo-physical page is its number times 4096.
 *
 * How it tells Xen so: ELF notes, or with -DLEGACY only the section __xen_guest that came before them,
 * or with -DNO_NOTES nothing at all, which no loader takes.
 */
#define BITS 64
#include "console.inc"

/* struct start_info (xen.h) */
#define SI_magic                0
#define SI_nr_pages             32
#define SI_console_mfn          72
#define SI_console_evtchn       80
#define SI_cmd_line             128
/* Where Xen maps the table from machine to pseudo-physical page numbers (arch-x86/xen-x86_64.h). */
#define MACH2PHYS_VIRT_START    0xffff800000000000

        .section .text.start, "ax"
        .globl  _start
_start: cld
        mov     $stack_top, %esp
        lea     SI_magic(%rsi), %rax    /* a text: "xen-3.0-x86_64" */
        mov     %rax, started_by
        lea     SI_cmd_line(%rsi), %rax
        mov     %rax, command_line
        mov     SI_nr_pages(%rsi), %rax
        mov     %eax, pages
        mov     SI_console_evtchn(%rsi), %eax
        mov     %eax, port
        mov     SI_console_mfn(%rsi), %rax
        movabs  $MACH2PHYS_VIRT_START, %rcx
        mov     (%rcx, %rax, 8), RING
        shl     $12, RING
        jmp     report

        .section .rodata
greeting:
        .asciz  "hello from imagekit: a Xen PV kernel"

/* Xen fills this page in when it builds the domain. */
        .section .hypercall, "ax"
        .globl  hypercall_page
hypercall_page:
        .skip   4096

#ifdef LEGACY
        .section __xen_guest, "", @progbits
        .ascii  "GUEST_OS=imagekit-hello,XEN_VER=xen-3.0,VIRT_BASE=0x0,ELF_PADDR_OFFSET=0x0,"
        .asciz  "HYPERCALL_PAGE=0x1,LOADER=generic"     /* a page number; kernel.lds.S sees to it */
#elif !defined(NO_NOTES)
#define XEN_ELFNOTE_ENTRY               1
#define XEN_ELFNOTE_HYPERCALL_PAGE      2
#define XEN_ELFNOTE_VIRT_BASE           3
#define XEN_ELFNOTE_PADDR_OFFSET        4
#define XEN_ELFNOTE_XEN_VERSION         5
#define XEN_ELFNOTE_GUEST_OS            6
#define XEN_ELFNOTE_GUEST_VERSION       7
#define XEN_ELFNOTE_LOADER              8
#define XEN_ELFNOTE_PAE_MODE            9
#define XEN_ELFNOTE_FEATURES            10

.macro  note_text type, text
        .long   4, 2f - 1f, \type
        .asciz  "Xen"
1:      .asciz  "\text"
2:      .balign 4
.endm
.macro  note_number type, value
        .long   4, 8, \type
        .asciz  "Xen"
        .quad   \value
.endm
        .section .note.Xen, "a", @note
        .balign 4
        note_text XEN_ELFNOTE_GUEST_OS, "imagekit-hello"
        note_text XEN_ELFNOTE_GUEST_VERSION, "1"
        note_text XEN_ELFNOTE_XEN_VERSION, "xen-3.0"
        note_text XEN_ELFNOTE_LOADER, "generic"
        note_text XEN_ELFNOTE_PAE_MODE, "yes"
        note_text XEN_ELFNOTE_FEATURES, "!writable_page_tables|pae_pgdir_above_4gb"
        note_number XEN_ELFNOTE_VIRT_BASE, 0
        note_number XEN_ELFNOTE_PADDR_OFFSET, 0
        note_number XEN_ELFNOTE_ENTRY, _start
        note_number XEN_ELFNOTE_HYPERCALL_PAGE, hypercall_page
#endif
