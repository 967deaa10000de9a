"""The part of Debian's Python that pygrub needs, compiled ahead: compiling it under emulation costs seconds."""

import re
from pathlib import Path

from imagekit.prove.lab.host import run_unpacked
from imagekit.prove.lab.libraries import Libraries
from imagekit.prove.lab.names import XEN
from imagekit.prove.lab.tree import Tree

PYTHON = "usr/bin/python3.11"
_STDLIB = "usr/lib/python3.11"
_MODULES = f"usr/lib/xen-{XEN}/lib/python"
# Large, and nothing that pygrub or its imports touch.
_LEFT_OUT = re.compile(
    r"(test|idlelib|lib2to3|ensurepip|distutils|pydoc_data|asyncio|config-[^/]*|unittest|xml|xmlrpc|wsgiref|email"
    r"|http|html|sqlite3|dbm|tkinter|turtle|multiprocessing|concurrent|venv|json|urllib|zoneinfo|tomllib|wheel"
    r"|_?pydecimal|pydoc|doctest|mailbox|pickletools|tarfile|imaplib|pdb|_sysconfigdata[^/]*)(/.*|\.pyc)"
)
_EXTENSION = re.compile(r"lib-dynload/.*\.so")


def compile_ahead(unpacked: Path) -> None:
    """Put a module.pyc beside each module.py, never to be checked against it."""
    run_unpacked(
        unpacked, PYTHON, "-S", "-s", "-m", "compileall",
        *("-q", "-b", "-j2", "--invalidation-mode", "unchecked-hash", "-x", "lib2to3|/test/"),
        *("-s", unpacked, "-p", "/", unpacked / _STDLIB, unpacked / _MODULES),
        env={"PYTHONHOME": str(unpacked / "usr"), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


def take_python(tree: Tree, libraries: Libraries) -> None:
    """Put the interpreter, compiled modules and those extensions there whose libraries are at hand."""
    tree.take(PYTHON)
    tree.link("usr/bin/python3", "python3.11")
    tree.take_all(_STDLIB, lambda name: name.endswith(".pyc") and not _LEFT_OUT.fullmatch(name))
    tree.take_all(
        _STDLIB,
        lambda name: bool(_EXTENSION.fullmatch(name)) and libraries.complete(f"{_STDLIB}/{name}"),
    )
    tree.take_all(_MODULES, lambda name: name.endswith((".pyc", ".so")))
