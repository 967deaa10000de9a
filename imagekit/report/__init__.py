"""The record of a run as one page of HTML for eyes: nothing is fetched, and nothing that a record says is markup.

page = render(complete(read(path), state))
"""

from imagekit.report.complete import complete
from imagekit.report.page import render

__all__ = ["complete", "render"]
