"""Signature and GUIDs by content: libparted draws them at random.

MBR: a little-endian signature of 4 bytes at 0x1b8. GPT (UEFI 2.10, 5.3): header of 92 bytes with its CRC-32 at
16, disk GUID at 56, first entry's sector at 72, number and size of entries at 80 and 84, their CRC-32 at 88; an
entry's own GUID lies at 16. Both copies are stamped.
"""

import hashlib
import struct
import zlib
from typing import IO

from imagekit.disk.layout import SECTOR
from imagekit.errors import BuildError

_SIGNATURE_AT = 0x1B8
_HEADER = 92


def stamp_mbr(file: IO[bytes], identity: bytes) -> None:
    """Write the disk signature; 0 would mean that there is none."""
    file.seek(_SIGNATURE_AT)
    file.write(bytes([identity[0] or 1]) + identity[1:4])


def stamp_gpt(file: IO[bytes], size: int, identity: bytes) -> None:
    """Write the disk's GUID and the partitions' into both copies, and their checksums."""
    for at in (SECTOR, size - SECTOR):
        header = bytearray(_read(file, at, _HEADER))
        if header[:8] != b"EFI PART":
            raise BuildError("libparted left no GPT where one belongs", details=f"at byte {at}")
        (first,) = struct.unpack_from("<Q", header, 72)
        count, length = struct.unpack_from("<II", header, 80)
        entries = bytearray(_read(file, first * SECTOR, count * length))
        for at_entry in range(0, count * length, length):
            if any(entries[at_entry : at_entry + 16]):  # its type: it is in use
                entries[at_entry + 16 : at_entry + 32] = _guid(partition_identity(identity, at_entry // length))
        header[56:72] = _guid(identity[:16])
        struct.pack_into("<I", header, 88, zlib.crc32(entries))
        struct.pack_into("<I", header, 16, 0)
        struct.pack_into("<I", header, 16, zlib.crc32(header))
        _write(file, first * SECTOR, entries)
        _write(file, at, header)


def partition_identity(identity: bytes, index: int) -> bytes:
    """Return the 16 bytes that a partition's GUID is made from; `index` counts from 0."""
    return hashlib.sha256(identity + bytes([index])).digest()[:16] if index else identity[16:]


def _guid(raw: bytes) -> bytes:
    """Return 16 bytes as a GUID of version 8 (RFC 9562: made by a rule of one's own), in GPT's mixed order."""
    guid = bytearray(raw)
    guid[7] = guid[7] & 0x0F | 0x80
    guid[8] = guid[8] & 0x3F | 0x80
    return bytes(guid)


def _read(file: IO[bytes], at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)


def _write(file: IO[bytes], at: int, data: bytes | bytearray) -> None:
    file.seek(at)
    file.write(data)
