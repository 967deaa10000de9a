"""Rows of `make prove` for Qubes OS: a kernel's folder for dom0, and a template's root volume."""

from collections.abc import Iterator

from boot_images import KERNELS, built
from boot_row import HELLO, MULTIBOOT, Boot, Row

from imagekit.kernel import Way
from imagekit.prove import Expected


def qubes() -> Iterator[Row]:
    """Yield both forms, as PVH and as PV."""
    pvh = Expected("started by: PVH", off=True)
    yield Boot("hello-pvh.xen for Qubes, tar", Way.PVH, built(KERNELS / "hello-pvh.xen", "qubes"), pvh)
    yield Boot("hello.xen for Qubes, tar", Way.PV_DIRECT, built(KERNELS / "hello.xen", "qubes"), HELLO)
    for layout in ("plain", "mbr", "gpt"):
        image = built(KERNELS / "hello-pvh.xen", "qubes", qubes__format="template", disk__layout=layout)
        yield Boot(f"hello-pvh.xen for Qubes, root volume, {layout}", Way.MULTIBOOT, image, MULTIBOOT)
