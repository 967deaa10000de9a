"""Seconds of each of several cold builds as library calls, in one process: library.py KERNEL FOLDER COUNT."""

import shutil
import sys
import time
from pathlib import Path

import imagekit

kernel, folder, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for number in range(count + 1):
    shutil.rmtree(folder / "cache", ignore_errors=True)
    begun = time.perf_counter()
    imagekit.make([kernel], out=str(folder / "l.raw"), cache=folder / "cache")
    if number:
        print(time.perf_counter() - begun)
