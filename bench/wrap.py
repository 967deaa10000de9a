"""A disk into a VHD, or out of one, as library calls in a process of its own: wrap.py in|out SOURCE TARGET RUNS.

Prints the seconds of each run, and the process's peak memory in bytes. The disk's digest is known, nothing synced.
"""

import resource
import sys
import time
from pathlib import Path

from imagekit.formats import vhd
from imagekit.sparse import map_blocks


def main() -> None:
    """Time the runs."""
    way, source, target, runs = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    blocks = map_blocks(source) if way == "in" else None
    for _ in range(runs):
        target.unlink(missing_ok=True)
        began = time.perf_counter()
        with source.open("rb") as image, target.open("wb") as file:
            if blocks is not None:
                vhd.write_file(vhd.layout(blocks, 0), image.fileno(), blocks.length, file.fileno())
            else:
                vhd.take_out([(image.fileno(), vhd.read_file(image.fileno()))], file.fileno())
        print(time.perf_counter() - began)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main()
