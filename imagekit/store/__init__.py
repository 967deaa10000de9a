"""The content-addressed cache on disk.

    results/<key>         the record of one step's result: digest, length, mtime and inode of the blob
    blobs/<digest>        the bytes
    blobs/<digest>.map    their block map, so that nobody hashes them twice
    locks/<key>           one file lock a key: of two builds of one thing one works, the other waits
    mirrors/<place>       what a mirror's lists of packages were like when it was last asked
    logs/<step>-<key>.log what a step's tools said, for a week at least
    tmp/<random>/         work under way; its owner holds its lock file, so the left-overs of the dead are known

A result is written under tmp, hashed, flushed to disk and renamed to its digest; only then is its record written.
A kill at any point leaves nothing or a whole result, so there is nothing to resume. A map's mtime is the last use.
A damaged blob loses its name: who has it open reads on, who comes later is told to try again.
"""

from imagekit.store.blobs import map_path
from imagekit.store.cache import Damage, Found, Store, default_root
from imagekit.store.records import Record
from imagekit.store.room import full_disk
from imagekit.store.stored import Stored

__all__ = ["Damage", "Found", "Record", "Store", "Stored", "default_root", "full_disk", "map_path"]
