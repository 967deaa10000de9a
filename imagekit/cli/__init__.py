"""The command line: the only place that prints, reads the environment and exits."""

import gc
import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the program and exit."""
    # Most runs find all in the cache and last a quarter of a second, most of it imports: these two save a fifth.
    gc.set_threshold(100_000, 50, 1000)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        from imagekit.cli.app import run  # noqa: PLC0415 -- after the above
    except KeyboardInterrupt:  # before there is anything to stop
        sys.exit(130)
    run()
