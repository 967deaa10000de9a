/* hello-pvh.xen: a Xen PVH kernel that says who it is, its command line and its memory, and powers off.
 *
 * It has two doors, as Solo5's kernels have: Xen's PVH entry (an ELF note) and a multiboot 1 header, for GRUB in a
 * PVH or HVM guest. Both enter in 32-bit protected mode without paging, %ebx = what the loader has to say; there it
 * stays, since the console page lies below 4 GiB. With -DNO_MULTIBOOT it has the first door only.
 *
 * The ELF is a 64-bit one, as Xen's tools want it from a kernel of today, though the code is 32-bit.
 */
#define BITS 32
        .code32
#include "console.inc"

#define MULTIBOOT_HEADER_MAGIC          0x1badb002
#define MULTIBOOT_LOADER_MAGIC          0x2badb002
#define MULTIBOOT_PAGE_ALIGN            (1 << 0)
#define MULTIBOOT_MEMORY_INFO           (1 << 1)
#define MULTIBOOT_ADDRESSES             (1 << 16)       /* load by the header's addresses, not by the ELF */
#define MULTIBOOT_FLAGS                 (MULTIBOOT_PAGE_ALIGN | MULTIBOOT_MEMORY_INFO | MULTIBOOT_ADDRESSES)
/* multiboot_info */
#define MBI_flags                       0
#define MBI_HAS_CMDLINE                 (1 << 2)
#define MBI_HAS_MMAP                    (1 << 6)
#define MBI_cmdline                     16
#define MBI_mmap_length                 44
#define MBI_mmap_addr                   48

/* struct hvm_start_info (arch-x86/hvm/start_info.h) */
#define HVM_START_MAGIC                 0x336ec578
#define HSI_magic                       0
#define HSI_version                     4
#define HSI_cmdline                     24
#define HSI_memmap                      40      /* since version 1 */
#define HSI_memmap_entries              48
#define HSI_MEMMAP_ENTRY_SIZE           24

/* An entry of either memory map, from its address on */
#define MAP_size                        8
#define MAP_type                        16
#define MAP_TYPE_RAM                    1

#define XEN_CPUID_FIRST                 0x40000000
#define XEN_CPUID_STEP                  0x100
#define XEN_CPUID_END                   0x40010000
#define XEN_SIGNATURE_EBX               0x566e6558      /* "XenV" */
#define XEN_SIGNATURE_ECX               0x65584d4d      /* "MMXe" */
#define XEN_SIGNATURE_EDX               0x4d4d566e      /* "nVMM" */

#define HYPERVISOR_hvm_op               34
#define HVMOP_get_param                 1
#define HVM_PARAM_CONSOLE_PFN           17
#define HVM_PARAM_CONSOLE_EVTCHN        18
#define DOMID_SELF                      0x7ff0

        .section .text.start, "ax"
#ifndef NO_MULTIBOOT
        .balign 4
multiboot_header:
        .long   MULTIBOOT_HEADER_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_HEADER_MAGIC + MULTIBOOT_FLAGS)
        .long   multiboot_header, image_start, data_end, bss_end, _start
#endif

        .globl  _start
_start: cld
        mov     $stack_top, %esp
        movl    $empty, command_line
        cmp     $MULTIBOOT_LOADER_MAGIC, %eax
        je      from_multiboot
        cmpl    $HVM_START_MAGIC, HSI_magic(%ebx)
        jne     halt

        movl    $by_pvh, started_by
        mov     HSI_cmdline(%ebx), %eax
        test    %eax, %eax
        jz      1f
        mov     %eax, command_line
1:      cmpl    $1, HSI_version(%ebx)
        jb      connect                 /* the first PVH hosts give no memory map: it says 0 pages */
        mov     HSI_memmap(%ebx), %esi
        mov     $HSI_MEMMAP_ENTRY_SIZE, %ecx
        imul    $HSI_MEMMAP_ENTRY_SIZE, HSI_memmap_entries(%ebx), %edx
        call    count_ram
        jmp     connect

from_multiboot:
        movl    $by_multiboot, started_by
        testl   $MBI_HAS_CMDLINE, MBI_flags(%ebx)
        jz      1f
        mov     MBI_cmdline(%ebx), %eax
        mov     %eax, command_line
1:      testl   $MBI_HAS_MMAP, MBI_flags(%ebx)
        jz      connect
        mov     MBI_mmap_addr(%ebx), %esi
        mov     MBI_mmap_length(%ebx), %edx
        mov     (%esi), %ecx            /* each entry is led by its size, which leaves itself out */
        add     $4, %ecx
        add     $4, %esi
        call    count_ram
        /* fall through */

/* Find Xen, the console page and its event channel. */
connect:
        mov     $XEN_CPUID_FIRST, %edi
1:      mov     %edi, %eax
        cpuid
        cmp     $XEN_SIGNATURE_EBX, %ebx
        jne     2f
        cmp     $XEN_SIGNATURE_ECX, %ecx
        jne     2f
        cmp     $XEN_SIGNATURE_EDX, %edx
        je      3f
2:      add     $XEN_CPUID_STEP, %edi   /* with Viridian on, Xen's leaves are not the first */
        cmp     $XEN_CPUID_END, %edi
        jb      1b
        jmp     halt
3:      lea     2(%edi), %eax
        cpuid
        mov     %ebx, %ecx              /* the MSR that takes the address of the page to fill in */
        mov     $hypercall_page, %eax
        xor     %edx, %edx
        wrmsr

        mov     $HVM_PARAM_CONSOLE_EVTCHN, %eax
        call    get_param
        mov     %eax, port
        mov     $HVM_PARAM_CONSOLE_PFN, %eax
        call    get_param
        shl     $12, %eax
        mov     %eax, RING
        jmp     report

/* Nobody to talk to: with interrupts off, this ends a Xen domain. */
halt:   cli
        hlt
        jmp     halt

/* %esi = first entry of a memory map, %edx = length of the map, %ecx = length of an entry */
count_ram:
        add     %esi, %edx
1:      cmp     %edx, %esi
        jae     3f
        cmpl    $MAP_TYPE_RAM, MAP_type(%esi)
        jne     2f
        mov     MAP_size(%esi), %eax
        mov     MAP_size+4(%esi), %edi
        shrd    $12, %edi, %eax
        add     %eax, pages
2:      add     %ecx, %esi
        jmp     1b
3:      ret

/* %eax = a parameter's number, then its value */
get_param:
        mov     %eax, param_index
        mov     $HYPERVISOR_hvm_op, %eax
        mov     $HVMOP_get_param, %edi
        mov     $param, %esi
        call    hypercall
        test    %eax, %eax
        jnz     halt
        mov     param_value, %eax
        ret

        .section .rodata
greeting:
        .asciz  "hello from imagekit: a Xen PVH kernel"
by_pvh: .asciz  "PVH"
by_multiboot:
        .asciz  "multiboot"
empty:  .asciz  ""

        .data
        .balign 8
param:                                  /* struct xen_hvm_param */
        .short  DOMID_SELF, 0
param_index:
        .long   0
param_value:
        .quad   0

        .bss
        .balign 4096
hypercall_page:
        .skip   4096

#define XEN_ELFNOTE_PHYS32_ENTRY        18
        .section .note.Xen, "a", @note
        .balign 4
        .long   4, 4, XEN_ELFNOTE_PHYS32_ENTRY
        .asciz  "Xen"
        .long   _start
