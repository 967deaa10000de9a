"""More than one machine: steps run by the workers of a Dask scheduler, which share a store with us.

Only the data of a step and its result's digest pass the scheduler. What a step reads, sources too, and what it
makes pass the shared store, where each side checks what it takes.
"""

from imagekit.farm.abilities import NAMES, abilities
from imagekit.farm.dask import Dask

__all__ = ["NAMES", "Dask", "abilities"]
