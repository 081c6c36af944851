// SPDX-License-Identifier: Apache-2.0
// A guest of QEMU's virt machine in a few dozen instructions, in an arm64 kernel image's clothes.
// It says a line, then echoes what is typed; three letters do what real guests do by accident:
//   r  asks for a reset (PSCI SYSTEM_RESET)      o  asks for a poweroff (PSCI SYSTEM_OFF)
//   f  floods the console with all byte values for ever
// guest.py holds its bytes: llvm-mc -triple=aarch64 -filetype=obj guest.s -o guest.o
//                           llvm-objcopy -O binary -j .text guest.o guest.bin
        .text
        b       main
        nop
        .quad   0                       // text offset
        .quad   0x10000                 // image size
        .quad   0x2                     // flags: 4 KiB pages, little endian
        .quad   0, 0, 0
        .ascii  "ARM\x64"
        .word   0
main:   mov     x1, #0x09000000         // the PL011
        adr     x2, line
say:    ldrb    w3, [x2], #1
        cbz     w3, echo
        str     w3, [x1]
        b       say
echo:   ldr     w4, [x1, #0x18]         // flags: bit 4 is "nothing received"
        tbnz    w4, #4, echo
        ldr     w3, [x1]
        cmp     w3, #'r'
        b.eq    reset
        cmp     w3, #'o'
        b.eq    off
        cmp     w3, #'f'
        b.eq    flood
        str     w3, [x1]
        b       echo
reset:  movz    w0, #0x8400, lsl #16
        movk    w0, #9
        hvc     #0
off:    movz    w0, #0x8400, lsl #16
        movk    w0, #8
        hvc     #0
flood:  add     w3, w3, #1
        and     w5, w3, #0xff
        str     w5, [x1]
        b       flood
line:   .asciz  "guest: hello\r\n"
