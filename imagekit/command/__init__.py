"""The one door to other programs: run without a shell, timed, ended with us, and their failures told.

Every child gets a fixed environment (C locale, UTC): its output and its bytes do not depend on who builds.
"""

from imagekit.command.beside import Running, Worker, follow, running, worker
from imagekit.command.children import stop_children
from imagekit.command.once import Completed, Feed, attached, run, version

__all__ = [
    "Completed",
    "Feed",
    "Running",
    "Worker",
    "attached",
    "follow",
    "run",
    "running",
    "stop_children",
    "version",
    "worker",
]
