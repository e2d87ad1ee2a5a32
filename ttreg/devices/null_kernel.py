"""Replaces ttnn's RISC-V compiler on a mocked chip, which runs no kernels: one empty kernel serves for all."""

from __future__ import annotations

import struct

# The address of the text segment. Any address works: ttnn puts kernels wherever it has room.
_TEXT_ADDRESS = 0x4000
_RET = 0x00008067  # jalr zero, 0(ra)

_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
_SEGMENT = struct.Struct("<8I")
_SECTION = struct.Struct("<10I")
_SYMBOL_BYTES, _RELOCATION_BYTES = 16, 12

_EXECUTABLE, _RISC_V, _VERSION, _LOAD = 2, 243, 1, 1
_PROGBITS, _SYMTAB, _STRTAB, _RELA = 1, 2, 3, 4
_ALLOC_EXEC, _INFO_LINK = 0x6, 0x40
_READ_EXEC = 5

_NAMES = ("", ".text", ".rela.text", ".symtab", ".strtab", ".shstrtab")
_NAMES_TABLE = b"\0".join(name.encode() for name in _NAMES) + b"\0"


def null_kernel() -> bytes:
    """The smallest ELF file that ttnn's loader takes for a linked kernel, or for firmware: one `ret`.

    What ttnn 0.81.1 looks for (tt_metal/llrt/tt_elffile.cpp): a 32-bit little-endian RISC-V executable whose
    entry is the start of its first loadable segment; section headers and their names; every allocated section
    inside a segment; and, to make it position independent, a relocation section for one of those (empty is
    enough) that links to a symbol table. Which processor of which chip it is for makes no difference.
    """
    text = struct.pack("<I", _RET)
    text_at = _HEADER.size + _SEGMENT.size
    symbols_at = text_at + len(text)
    sections_at = -(-(symbols_at + _SYMBOL_BYTES + 1 + len(_NAMES_TABLE)) // 4) * 4
    sections = _sections(text_at, len(text), symbols_at)
    header = _HEADER.pack(
        b"\x7fELF" + bytes([1, 1, _VERSION]),  # 32 bits, little-endian
        _EXECUTABLE,
        _RISC_V,
        _VERSION,
        _TEXT_ADDRESS,
        _HEADER.size,
        sections_at,
        0,
        _HEADER.size,
        _SEGMENT.size,
        1,
        _SECTION.size,
        len(sections),
        _NAMES.index(".shstrtab"),
    )
    segment = _SEGMENT.pack(_LOAD, text_at, _TEXT_ADDRESS, _TEXT_ADDRESS, len(text), len(text), _READ_EXEC, 4)
    body = header + segment + text + bytes(_SYMBOL_BYTES) + b"\0" + _NAMES_TABLE
    return body.ljust(sections_at, b"\0") + b"".join(sections)


def _sections(text_at: int, text_bytes: int, symbols_at: int) -> list[bytes]:
    """The headers of the sections, in the order of their names."""
    text_index, symtab_index, strtab_index = (_NAMES.index(n) for n in (".text", ".symtab", ".strtab"))
    strings_at = symbols_at + _SYMBOL_BYTES
    links = {"link": symtab_index, "info": text_index, "entry_bytes": _RELOCATION_BYTES}
    # One symbol, the empty one that every table starts with; `info` is how many of them are local.
    symbols = {"link": strtab_index, "info": 1, "entry_bytes": _SYMBOL_BYTES}
    return [
        bytes(_SECTION.size),
        _section(".text", _PROGBITS, text_at, text_bytes, flags=_ALLOC_EXEC, address=_TEXT_ADDRESS),
        _section(".rela.text", _RELA, symbols_at, 0, flags=_INFO_LINK, **links),
        _section(".symtab", _SYMTAB, symbols_at, _SYMBOL_BYTES, **symbols),
        _section(".strtab", _STRTAB, strings_at, 1, align=1),
        _section(".shstrtab", _STRTAB, strings_at + 1, len(_NAMES_TABLE), align=1),
    ]


def _section(name: str, kind: int, at: int, size: int, **more: int) -> bytes:
    return _SECTION.pack(
        _NAMES_TABLE.index(b"\0" + name.encode() + b"\0") + 1,
        kind,
        more.get("flags", 0),
        more.get("address", 0),
        at,
        size,
        more.get("link", 0),
        more.get("info", 0),
        more.get("align", 4),
        more.get("entry_bytes", 0),
    )


def stand_in_compiler(version: str) -> str:
    """The text of a program to stand where ttnn looks for its compiler; `version` answers `--version`.

    A compilation leaves an empty object and a dependency file, a link leaves the null kernel. ttnn starts it
    about ten times for a new program, so it is a POSIX shell script that starts no program itself.
    """
    octal = "".join(f"\\{byte:03o}" for byte in null_kernel())
    quoted = version.replace("'", "'\\''")
    return _SCRIPT.replace("@VERSION@", quoted).replace("@KERNEL@", octal)


_SCRIPT = r"""#!/bin/sh
# Written by ttreg. Stands where ttnn looks for its RISC-V compiler, for mocked chips only: those run no
# kernel, so every link yields the same one, which returns at once.
out= dependencies= linking= previous=
for argument in "$@"; do
  case $previous in
    -o) out=$argument ;;
    -MF) dependencies=$argument ;;
  esac
  case $argument in
    --version) printf '%s\n' '@VERSION@'; exit ;;
    -T*) linking=yes ;;
  esac
  previous=$argument
done
if [ -n "$dependencies" ]; then
  printf '%s:\n' "$out" > "$dependencies" || exit
fi
if [ -n "$linking" ]; then
  printf '@KERNEL@' > "$out"
elif [ -n "$out" ]; then
  : > "$out"
fi
"""
