/* A Multiboot kernel (of the first version, or with -DSECOND of the second) that writes to COM1, and to QEMU's
 * debugcon, what its loader told it: its command line, those of its modules, and whether the 8259 is masked, each ended
 * by a line feed. Then it ends QEMU, by isa-debug-exit. No Xen: what is tried is GRUB.
 */
        .code32
        .section .text
        .globl _start
#ifdef SECOND
        .balign 8
header: .long   0xe85250d6, 0, header_end - header, -(0xe85250d6 + header_end - header)
        .short  0, 0
        .long   8
header_end:
#else
        .balign 4
        .long   0x1badb002, 3, -(0x1badb002 + 3)
#endif

_start: cld
        mov     $stack, %esp
        mov     $begin, %esi
        call    print
#ifdef SECOND
        lea     8(%ebx), %ebp           /* tags, the first of them behind the length of all */
1:      mov     (%ebp), %eax
        test    %eax, %eax
        jz      masks
        lea     8(%ebp), %esi           /* type 1: the command line */
        cmp     $1, %eax
        je      2f
        lea     16(%ebp), %esi          /* type 3: a module: its place, and its command line */
        cmp     $3, %eax
        jne     3f
2:      call    print
3:      mov     4(%ebp), %eax
        add     $7, %eax
        and     $~7, %eax
        add     %eax, %ebp
        jmp     1b
#else
        mov     16(%ebx), %esi
        call    print
        mov     20(%ebx), %edi          /* how many modules, and the first */
        mov     24(%ebx), %ebp
1:      test    %edi, %edi
        jz      masks
        mov     8(%ebp), %esi
        call    print
        add     $16, %ebp
        dec     %edi
        jmp     1b
#endif

masks:  in      $0x21, %al
        mov     %al, %ah
        in      $0xa1, %al
        mov     $masked, %esi
        cmp     $0xffff, %ax
        je      1f
        mov     $unmasked, %esi
1:      call    print
        mov     $0xf4, %dx
        out     %al, %dx
1:      hlt
        jmp     1b

print:  lodsb
        test    %al, %al
        jz      1f
        call    put
        jmp     print
1:      mov     $'\n', %al
put:    mov     %al, %ah
        mov     $0x3fd, %dx
1:      in      %dx, %al
        test    $0x20, %al
        jz      1b
        mov     %ah, %al
        mov     $0x3f8, %dx
        out     %al, %dx
        out     %al, $0xe9
        ret

begin:  .asciz  "\nTOLD"
masked: .asciz  "masked"
unmasked: .asciz "not masked"
        .bss
        .skip   4096
stack:
