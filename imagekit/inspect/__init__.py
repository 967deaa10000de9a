"""What a file is: a kernel or a disk image, explained as data.

    report = inspect(Path("app.img"))
    print(text.render(report))

`report` is a tree of dataclasses (imagekit.inspect.report); `text` and `html` render it, `report.to_json()` is for
programs. Nothing of the image is mounted, run or believed.
"""

from dataclasses import replace
from pathlib import Path

from imagekit.inspect.report import Report

__all__ = ["Report", "inspect"]


def inspect(path: Path, *, private_key: Path | None = None) -> Report:
    """Return the report on a file; of a VHD, an XVA or an AMI bundle that on the disk in it, too.

    UsageError: it cannot be read, or a bundle's `private_key` is not named. VerificationError: it is neither a
    kernel nor a disk image. What is wrong inside an image (a checksum, an overlap, a circle) is listed in
    `problems`, never raised.
    """
    from imagekit.inspect.survey import survey  # noqa: PLC0415 -- 60 ms of ELF reading that --help can do without
    from imagekit.inspect.wrappings import tell  # noqa: PLC0415
    from imagekit.unwrap import Form, form_of, unwrapped  # noqa: PLC0415

    wrapping = tuple(tell(path, form := form_of(path)))
    member = "vmlinuz" if form is Form.VM_KERNEL else "the disk"
    with unwrapped(path, private_key) as disk:
        report = survey(disk, f"{path}: {member} in it" if wrapping else "")
    return replace(report, name=path.name, wrapping=wrapping) if wrapping else report
