# SPDX-License-Identifier: Apache-2.0
"""The smallest init: it prints how long the kernel took, and switches the machine off.

A static arm64 program, put together here so that it is the same on every machine and needs no
compiler: all that it does are three system calls and the division by ten that prints a number.

Sources: the Arm Architecture Reference Manual (encodings), the kernel's
include/uapi/asm-generic/unistd.h (numbers) and the System V ABI (the ELF headers).
"""

from __future__ import annotations

import struct

MARK = b"farm-marker "
"""What it prints before the nanoseconds since the kernel began (CLOCK_BOOTTIME)."""

_BASE = 0x400000
_HEADERS = 64 + 56
_SP = 31
_CLOCK_GETTIME, _WRITE, _REBOOT = 113, 64, 142
_CLOCK_BOOTTIME = 7
_POWER_OFF = 0x4321FEDC


def marker_program() -> bytes:
    """Return the program, an ELF file of some 300 bytes."""
    digits_end = 63
    code = [
        _sub_immediate(_SP, _SP, 64),
        *_call(_CLOCK_GETTIME, (_CLOCK_BOOTTIME,), stack_in=1),
        0xA9400BE1,  # ldp x1, x2, [sp]: seconds, nanoseconds
        *_load(3, 1_000_000_000),
        0x9B030820,  # madd x0, x1, x3, x2: nanoseconds in all
        _add_immediate(1, _SP, digits_end),
        *_load(2, ord("\n")),
        0x39000022,  # strb w2, [x1]
        *_load(2, 10),
        # Each turn puts one digit before the others.
        0x9AC20804,  # udiv x4, x0, x2
        0x9B028085,  # msub x5, x4, x2, x0
        _add_immediate(5, 5, ord("0")),
        0x381FFC25,  # strb w5, [x1, #-1]!
        0xAA0403E0,  # mov x0, x4
        0xB5FFFF60,  # cbnz x0, five instructions back
    ]
    # The mark goes in front of the digits, from its last byte to its first.
    for byte in reversed(MARK):
        code += [*_load(5, byte), 0x381FFC25]
    code += [
        _add_immediate(2, _SP, digits_end + 1),
        0xCB010042,  # sub x2, x2, x1: how many bytes
        *_load(0, 1),
        *_load(8, _WRITE),
        0xD4000001,  # svc #0
        *_call(_REBOOT, (0xFEE1DEAD, 0x28121969, _POWER_OFF)),
        0x14000000,  # b .: never reached where the machine can be switched off
    ]
    text = struct.pack(f"<{len(code)}I", *code)
    size = _HEADERS + len(text)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack(
        "<HHIQQQIHHHHHH", 2, 183, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 64, 0, 0
    )
    head += struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    return head + text


def _call(number: int, values: tuple[int, ...], stack_in: int | None = None) -> list[int]:
    """A system call; `stack_in` is a register that gets the stack's address."""
    code = [word for register, value in enumerate(values) for word in _load(register, value)]
    if stack_in is not None:
        code.append(_add_immediate(stack_in, _SP, 0))
    return [*code, *_load(8, number), 0xD4000001]


def _load(register: int, value: int) -> list[int]:
    """movz, and movk where the value has more than 16 bits."""
    code = [0xD2800000 | (value & 0xFFFF) << 5 | register]
    if value >> 16:
        code.append(0xF2A00000 | (value >> 16) << 5 | register)
    return code


def _add_immediate(to: int, of: int, value: int) -> int:
    return 0x91000000 | value << 10 | of << 5 | to


def _sub_immediate(to: int, of: int, value: int) -> int:
    return 0xD1000000 | value << 10 | of << 5 | to
