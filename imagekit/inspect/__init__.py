"""What a file is: a kernel or a raw disk image, explained as data.

    report = inspect(Path("app.img"))
    print(text.render(report))

`report` is a tree of dataclasses (imagekit.inspect.report); `text` and `html` render it, `report.to_json()` is for
programs. Nothing of the image is mounted, run or believed.
"""

from pathlib import Path

from imagekit.inspect.report import Report

__all__ = ["Report", "inspect"]


def inspect(path: Path) -> Report:
    """Return the report on a file.

    UsageError: it cannot be read. VerificationError: it is neither a kernel nor a raw disk image. What is wrong
    inside an image (a checksum, an overlap, a circle) is listed in `problems`, never raised.
    """
    from imagekit.inspect.survey import survey  # noqa: PLC0415 -- 60 ms of ELF reading that --help can do without

    return survey(path)
