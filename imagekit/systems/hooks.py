"""What diskimage-builder says while it works: which hook runs, of which phase and element."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_RUNNING = re.compile(r"dib-run-parts Running \S*/([\w-]+)\.d/(\S+)$")
_DONE = re.compile(r"dib-run-parts (\S+) completed$")
_IMAGE = "Calculating image size"


@dataclass
class Hooks:
    """Reads the lines of its log, and tells each new phase."""

    elements: Mapping[str, Path]
    tell: Callable[[str], None]
    phase: str = ""
    hook: str = ""

    def line(self, text: str) -> None:
        """Take one line."""
        text = text.rstrip()
        if match := _RUNNING.search(text):
            self.hook = match[2]
            self._begin(f"{match[1]}.d")
        elif (match := _DONE.search(text)) and match[1] == self.hook:
            self.hook = ""
        elif _IMAGE in text:
            self._begin("image")

    def failed(self) -> str:
        """Return where it stopped, for an error's first line."""
        if not self.hook:
            return f"diskimage-builder failed{f' after {self.phase}' if self.phase else ''}"
        of = next((name for name, path in self.elements.items() if (path / self.phase / self.hook).exists()), "?")
        return f"the element {of} failed: {self.phase}/{self.hook}"

    def _begin(self, phase: str) -> None:
        if phase != self.phase:
            self.phase = phase
            self.tell(phase)
