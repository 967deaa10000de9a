"""Xen's own reader of xl.cfg files, called through ctypes: what it reads is what `xl create` would read.

The library is libxlutil (Xen's tools/include/libxlutil.h), which Debian ships in libxenmisc4.17. It reads in this
process, so nothing may reach it that could bring the process down: a NUL ends its tokens early and trips an
assertion, a newline in a disk's string jams its scanner, which exits, and looking up very many settings takes
quadratic time. All three are refused.
"""

import ctypes
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from functools import cache
from typing import NamedTuple

from imagekit.errors import ToolError, VerificationError

# The soname carries Xen's version, and so does the layout of `_DeviceDisk`.
_LIBRARY = "libxlutil.so.4.17"
PACKAGE = "libxenmisc4.17"
"""The Debian package that brings the library."""

# Bytes. A domain's configuration has one or two thousand.
SIZE_LIMIT = 64 * 1024

# What the lexer takes for a setting's name. One too many does no harm: the library is asked about each.
_SETTING = re.compile(r"[a-z][._0-9a-z]*(?=[ \t]*\+?=)")

# LIBXL_DISK_FORMAT_* of libxl_types.idl.
_FORMATS = ("unknown", "qcow", "qcow2", "vhd", "raw", "empty", "qed")


class DiskSpec(NamedTuple):
    """A disk as Xen understood it: host path, name in the guest, format in Xen's word."""

    path: str
    vdev: str
    format: str
    writable: bool


class _DeviceDisk(ctypes.Structure):
    """The head of libxl_device_disk; the rest is there to be written to, and not read."""

    _fields_ = (
        ("backend_domid", c_uint32),
        ("backend_domname", c_void_p),
        ("path", c_void_p),
        ("vdev", c_void_p),
        ("backend", c_int),
        ("format", c_int),
        ("script", c_void_p),
        ("removable", c_int),
        ("readwrite", c_int),
        ("is_cdrom", c_int),
        ("rest", ctypes.c_char * 1024),
    )


def parse_xl_cfg(text: str) -> dict[str, str | list[str]]:
    """Return every setting of an xl.cfg text, in the order of the text.

    A number comes as its digits, since Xen's reader tells `5` from `"5"` no more than xl does. VerificationError
    carries the reader's own words about a text it does not take; ToolError if the library is not installed.
    """
    data = _harmless(text)
    with _configuration() as (config, words):
        if _xlutil().xlu_cfg_readdata(config, data, len(data)):
            raise VerificationError("Xen cannot read this configuration", details=words())
        names = dict.fromkeys(_SETTING.findall(text))
        return {name: value for name in names if (value := _value(config, name)) is not None}


def parse_xl_disk(spec: str) -> DiskSpec:
    """Return what Xen understands by one string of `disk = [...]`.

    VerificationError carries the reader's own words; ToolError if the library is not installed.
    """
    if "\n" in spec:
        raise VerificationError("this disk has a newline in it")
    specs = (c_char_p * 1)(_harmless(spec))
    disk = _DeviceDisk()
    with _configuration() as (config, words):
        try:
            # A missing vdev or target is told to the report, but not by the status: see xlu_disk_parse.
            if _xlutil().xlu_disk_parse(config, 1, specs, byref(disk)) or words():
                raise VerificationError("Xen cannot read this disk", details=words())
            return DiskSpec(
                _string(disk.path), _string(disk.vdev), _FORMATS[disk.format], writable=bool(disk.readwrite)
            )
        finally:
            for pointer in (disk.backend_domname, disk.path, disk.vdev, disk.script):
                _libc().free(pointer)


def installed() -> bool:
    """Tell whether the library is there."""
    try:
        _xlutil()
    except ToolError:
        return False
    return True


def _harmless(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise VerificationError("this configuration is no UTF-8 text", details=str(error)) from None
    if b"\0" in data:
        raise VerificationError("this configuration has a NUL in it")
    if len(data) > SIZE_LIMIT:
        raise VerificationError(f"this configuration is longer than {SIZE_LIMIT} bytes")
    return data


def _value(config: int, name: str) -> str | list[str] | None:
    library = _xlutil()
    atom = c_char_p()
    if library.xlu_cfg_get_string(config, name.encode(), byref(atom), 1) == 0:
        return _decoded(atom.value)
    items, count = c_void_p(), c_int()
    if library.xlu_cfg_get_list(config, name.encode(), byref(items), byref(count), 1) == 0:
        return [_item(items, index, name) for index in range(count.value)]
    return None


def _item(items: c_void_p, index: int, name: str) -> str:
    item: bytes | None = _xlutil().xlu_cfg_get_listitem(items, index)
    if item is None:
        raise VerificationError(f"{name} has a list inside its list")
    return _decoded(item)


@contextmanager
def _configuration() -> Iterator[tuple[int, Callable[[], str]]]:
    """Lend an empty configuration, and a way to ask for what the library said about it so far."""
    library, libc = _xlutil(), _libc()
    buffer, size = c_char_p(), c_size_t()
    report = libc.open_memstream(byref(buffer), byref(size))

    def words() -> str:
        libc.fflush(report)
        return (buffer.value or b"").decode(errors="backslashreplace")

    config = library.xlu_cfg_init(report, b"xl.cfg")
    try:
        yield config, words
    finally:
        library.xlu_cfg_destroy(config)
        libc.fclose(report)
        libc.free(buffer)


def _decoded(value: bytes | None) -> str:
    return (value or b"").decode(errors="backslashreplace")


def _string(pointer: int | None) -> str:
    return _decoded(ctypes.string_at(pointer)) if pointer else ""


def _xlutil() -> ctypes.CDLL:
    return _loaded(_LIBRARY)


@cache
def _loaded(soname: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(soname)
    except OSError as error:
        raise ToolError(
            f"{soname} is not installed", details=str(error), hint=f"sudo apt-get install {PACKAGE}"
        ) from error
    _declare(library, "xlu_cfg_init", c_void_p, c_void_p, c_char_p)
    _declare(library, "xlu_cfg_destroy", None, c_void_p)
    _declare(library, "xlu_cfg_readdata", c_int, c_void_p, c_char_p, c_int)
    _declare(library, "xlu_cfg_get_string", c_int, c_void_p, c_char_p, POINTER(c_char_p), c_int)
    _declare(library, "xlu_cfg_get_list", c_int, c_void_p, c_char_p, POINTER(c_void_p), POINTER(c_int), c_int)
    _declare(library, "xlu_cfg_get_listitem", c_char_p, c_void_p, c_int)
    _declare(library, "xlu_disk_parse", c_int, c_void_p, c_int, POINTER(c_char_p), POINTER(_DeviceDisk))
    return library


@cache
def _libc() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    _declare(library, "open_memstream", c_void_p, POINTER(c_char_p), POINTER(c_size_t))
    _declare(library, "fflush", c_int, c_void_p)
    _declare(library, "fclose", c_int, c_void_p)
    _declare(library, "free", None, c_void_p)
    return library


def _declare(library: ctypes.CDLL, function: str, result: type | None, *arguments: type) -> None:
    # Without this, ctypes cuts every pointer to 32 bits.
    declared = getattr(library, function)
    declared.restype = result
    declared.argtypes = arguments
