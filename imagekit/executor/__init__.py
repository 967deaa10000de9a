"""Where steps run: in threads of this process, in processes beside it, or wherever else an `Executor` brings them.

A step is shipped by its data, a `Task`: which function, of which inputs, with which settings, under which key.
Inputs and results do not travel with it: both sides see the sources and the store.
"""

from imagekit.executor.inputs import SourceInput
from imagekit.executor.making import make
from imagekit.executor.processes import Processes
from imagekit.executor.task import Executor, Given, Outcome, Task, machine
from imagekit.executor.threads import Threads

__all__ = ["Executor", "Given", "Outcome", "Processes", "SourceInput", "Task", "Threads", "machine", "make"]
