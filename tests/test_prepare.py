"""From a request to a plan: names, places, targets chosen and left out."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.build import Runner, build
from imagekit.errors import ExitCode, KernelError, RecipeError, UnsuitedError, UsageError
from imagekit.events import Event, Warned
from imagekit.kernel import Refusal
from imagekit.prepare import Prepared, Request, judge, prepare
from imagekit.recipe import Image
from imagekit.store import Store
from tests.kernel.elf_builder import PT_NOTE, Builder, Segment, bzimage, pvh_notes

Prepare = Callable[..., Prepared]


@pytest.fixture
def prepared(store: Store) -> Prepare:
    """Return a function that prepares: prepared(path…, targets=…, out=…, settings=…)."""

    def prepare_it(
        *paths: Path,
        targets: tuple[str, ...] = (),
        out: str | None = None,
        settings: dict[str, object] | None = None,
        environment: dict[str, str] | None = None,
    ) -> Prepared:
        with store.in_use():
            return prepare(Request(paths, targets, out, settings), Runner(store), environment or {})

    return prepare_it


def places(result: Prepared) -> list[str]:
    return [str(output.path) for output in result.plan.outputs]


def test_without_anything_said(prepared: Prepare, kernels: Path) -> None:
    result = prepared(kernels / "hello.xen")
    assert places(result) == ["hello.xen.raw"]
    assert [output.target for output in result.plan.outputs] == ["xen"]
    assert (result.recipes, result.skipped) == ((), ())
    assert result.facts["hello"].kind == "pv"


@pytest.mark.parametrize(
    "targets, out, expected",
    [
        (("xen",), "app.img", ["app.img"]),
        (("xen",), "folder/", ["folder/hello.xen.raw"]),
        (("xen", "ebs"), "folder/", ["folder/hello.xen.raw", "folder/hello.ebs"]),
        (("ebs", "xen", "ebs"), None, ["hello.ebs", "hello.xen.raw"]),
        (("xen", "ebs"), ".", ["hello.xen.raw", "hello.ebs"]),
    ],
)
def test_places(
    prepared: Prepare, kernels: Path, targets: tuple[str, ...], out: str | None, expected: list[str]
) -> None:
    assert places(prepared(kernels / "hello.xen", targets=targets, out=out)) == expected


@pytest.mark.parametrize(
    "mib, memory, ramdisk, words",
    [
        (46, 64, 0, "memory is 64 MiB, and the kernel spans 46 MiB of it"),
        (46, 92, 0, ""),
        (46, 92, 20, "memory is 92 MiB, and kernel and ramdisk span 66 MiB of it"),
        (46, 132, 20, ""),
    ],
)
def test_a_linux_that_its_memory_does_not_hold(
    prepared: Prepare, tmp_path: Path, mib: int, memory: int, ramdisk: int, words: str
) -> None:
    segments = (Segment(content=b"x", physical=1 << 20, memory=mib << 20), Segment(PT_NOTE, pvh_notes()))
    (tmp_path / "vmlinuz").write_bytes(bzimage(gzip.compress(Builder(segments).build())))
    settings: dict[str, object] = {"memory": f"{memory}MiB"}
    if ramdisk:
        with (tmp_path / "initrd").open("wb") as file:
            file.truncate(ramdisk << 20)
        settings["ramdisk"] = str(tmp_path / "initrd")
    remarks = prepared(tmp_path / "vmlinuz", targets=("qubes",), settings=settings).remarks
    assert len(remarks) == (1 if words else 0)
    assert all(one.startswith(f"vmlinuz: {words}") for one in remarks)


def test_it_is_told_before_it_is_made(store: Store, tmp_path: Path) -> None:
    segments = (Segment(content=b"x", physical=1 << 20, memory=80 << 20), Segment(PT_NOTE, pvh_notes()))
    (tmp_path / "app.xen").write_bytes(Builder(segments).build())
    heard: list[Event] = []
    with store.in_use():
        result = prepare(Request([tmp_path / "app.xen"], ("qubes", "xen")), Runner(store, heard.append), {})
    assert [one.message for one in heard if isinstance(one, Warned)] == list(result.remarks)
    assert len(result.remarks) == 1


@pytest.mark.parametrize("mib, memory, scarce", [(30, 32, False), (31, 32, True), (1, 16, False)])
def test_another_kernel_needs_less_beside_itself(
    prepared: Prepare, tmp_path: Path, mib: int, memory: int, scarce: bool
) -> None:
    segments = (Segment(content=b"x", physical=1 << 20, memory=mib << 20), Segment(PT_NOTE, pvh_notes()))
    (tmp_path / "app.xen").write_bytes(Builder(segments).build())
    result = prepared(tmp_path / "app.xen", targets=("qubes",), settings={"memory": f"{memory}MiB"})
    assert bool(result.remarks) is scarce


def test_a_folder_that_is_there_needs_no_slash(prepared: Prepare, kernels: Path, tmp_path: Path) -> None:
    assert places(prepared(kernels / "hello.xen", out=str(tmp_path))) == [f"{tmp_path}/hello.xen.raw"]


def test_several_artifacts_and_one_file_name(prepared: Prepare, kernels: Path) -> None:
    with pytest.raises(UsageError, match="names one file, and 2 artifacts") as caught:
        prepared(kernels / "hello.xen", targets=("xen", "ebs"), out="app")
    assert caught.value.hint == "-o app/ puts them into a folder"


def test_several_kernels(prepared: Prepare, kernels: Path) -> None:
    result = prepared(kernels / "hello.xen", kernels / "hello-pvh.xen", out="out/")
    assert places(result) == ["out/hello.xen.raw", "out/hello-pvh.xen.raw"]
    assert set(result.facts) == {"hello", "hello-pvh"}


def test_two_images_of_one_name(prepared: Prepare, kernels: Path) -> None:
    with pytest.raises(UsageError, match="two images are named 'hello'"):
        prepared(kernels / "hello.xen", kernels / "hello.xen.gz")


def test_a_recipe_and_its_targets(prepared: Prepare, kernels: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "app.toml"
    recipe.write_text(f'kernel = "{kernels}/hello.xen"\ntargets = ["ebs"]\n')
    result = prepared(recipe)
    assert (places(result), result.recipes) == (["app.ebs"], (recipe,))
    assert places(prepared(recipe, targets=("xen",))) == ["app.xen.raw"]


def test_all_lists_what_is_left_out(prepared: Prepare, kernels: Path) -> None:
    result = prepared(kernels / "broken" / "pvh-only.xen", targets=("all",), out="out/")
    assert places(result) == ["out/pvh-only.qubes.tar", "out/pvh-only.xcp.vhd", "out/pvh-only.xen.raw"]
    skipped = {item.target: item.refusal for item in result.skipped}
    assert "ebs" in skipped
    assert "no entry for PV" in skipped["ebs"].reason
    assert isinstance(skipped["ebs"], Refusal)
    assert "ENTRY" in skipped["ebs"].missing
    for name in ("hello.xen", "hello-pvh.xen"):
        assert "ebs" not in [item.target for item in prepared(kernels / name, targets=("all",)).skipped]


def test_all_and_nothing_is_left(prepared: Prepare, kernels: Path) -> None:
    with pytest.raises(KernelError, match="cannot boot on") as caught:
        prepared(kernels / "broken" / "no-notes.xen", targets=("all",))
    assert caught.value.exit_code == ExitCode.CANNOT_BOOT
    assert caught.value.hint == "no target of today boots it"


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"filesystem.type": "fat16"}, "Amazon's PV-GRUB reads no FAT"),
        ({"disk.size": "1536MiB"}, "an EBS volume is a whole number of GiB, 65536 at most"),
    ],
)
def test_all_leaves_out_what_cannot_have_the_settings(
    prepared: Prepare, kernels: Path, settings: dict[str, object], reason: str
) -> None:
    result = prepared(kernels / "hello.xen", targets=("all",), out="out/", settings=settings)
    assert [output.target for output in result.plan.outputs] == ["openstack", "rackspace", "xcp", "xen"]
    assert ("ebs", reason) in [(item.target, item.refusal.reason) for item in result.skipped]
    with pytest.raises(UnsuitedError, match=reason) as caught:
        prepared(kernels / "hello.xen", targets=("ebs",), settings=settings)
    assert caught.value.exit_code == ExitCode.USAGE


def test_all_and_no_settings_that_suit(prepared: Prepare, kernels: Path, tmp_path: Path) -> None:
    """One cannot boot the kernel, the other cannot have the settings: these can be changed."""
    (tmp_path / "ramdisk").touch()
    settings: dict[str, object] = {
        "xen.loader": "direct",
        "xcp.loader": "direct",
        "ramdisk": str(tmp_path / "ramdisk"),
        "qubes.name": "none",
    }
    with pytest.raises(UnsuitedError, match="no qube may be called 'none'"):
        prepared(kernels / "broken" / "pvh-only.xen", targets=("all",), settings=settings)


def test_what_suits_nobody_is_told_as_it_is(prepared: Prepare, kernels: Path) -> None:
    with pytest.raises(RecipeError, match="the command line is longer than 1023 bytes"):
        prepared(kernels / "hello.xen", targets=("all",), settings={"cmdline": "x" * 1024})


@pytest.mark.parametrize(
    "text, where, name",
    [
        (
            "{kernel}\n[[root.files]]\nfrom = '{there}'\n[[root.files]]\nfrom = 'none'",
            ":5: root.files.1.from",
            "none",
        ),
        (
            "{kernel}\n[[image]]\n[[image]]\nname = 'b'\nroot.files = [\n{{ from = 'none' }}]",
            ":6: image.1.root.files.0.from",
            "none",
        ),
        ("{kernel}\nroot.files = [{{ from = 'none' }}]\n[[image]]\nname = 'b'", ":2: root.files.0.from", "none"),
        ("{kernel}\nramdisk = 'none'", ":2: ramdisk", "none"),
        ("\nkernel = 'none.xen'", ":2: kernel", "none.xen"),
    ],
)
def test_files_that_are_not_there_are_told_with_their_line(
    prepared: Prepare, kernels: Path, tmp_path: Path, text: str, where: str, name: str
) -> None:
    recipe = tmp_path / "app.toml"
    recipe.write_text(text.format(kernel=f"kernel = '{kernels}/hello.xen'", there=tmp_path))
    with pytest.raises(RecipeError) as caught:
        prepared(recipe)
    assert caught.value.brief == f"{recipe}{where}: {tmp_path / name} cannot be read"
    assert caught.value.details == "No such file or directory"


def test_a_target_that_cannot_boot_it_is_refused_before_anything_is_made(
    prepared: Prepare, kernels: Path, store: Store
) -> None:
    with pytest.raises(KernelError, match=r"pvh-only\.xen cannot boot on ebs") as caught:
        prepared(kernels / "broken" / "pvh-only.xen", targets=("xen", "ebs"), out="out/")
    assert "missing: " in caught.value.details
    assert "--target qubes, xcp or xen" in caught.value.hint
    assert [record.step for _, record in store.records()] == ["kernel"]


def test_judge_asks_every_target(prepared: Prepare, kernels: Path) -> None:
    facts = prepared(kernels / "hello.xen").facts["hello"]
    verdicts = judge(facts, Image(kernel=kernels / "hello.xen"))
    assert {"xen", "ebs"} <= set(verdicts)
    assert verdicts["xen"] is None
    assert verdicts["ebs"] is None


@pytest.mark.parametrize("name", ["none.xen", "none.toml"])
def test_what_is_not_there(prepared: Prepare, tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match=f"{name} cannot be read") as caught:
        prepared(tmp_path / name)
    assert caught.value.details == "No such file or directory"


def test_a_folder_as_kernel(prepared: Prepare, tmp_path: Path) -> None:
    (tmp_path / "app.xen").mkdir()
    with pytest.raises((KernelError, UsageError)):
        prepared(tmp_path / "app.xen")


def test_an_unknown_target(prepared: Prepare, kernels: Path) -> None:
    with pytest.raises(UsageError, match="no target is named 'zen'") as caught:
        prepared(kernels / "hello.xen", targets=("zen",))
    assert "ebs, xen" in caught.value.hint or "xen" in caught.value.hint


@pytest.mark.parametrize("epoch", ["", "x", "-1", "0", str(1 << 32)])
def test_an_epoch_that_is_none(prepared: Prepare, kernels: Path, epoch: str) -> None:
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        prepared(kernels / "hello.xen", environment={"SOURCE_DATE_EPOCH": epoch})


def test_one_disk_for_two_artifacts_of_it(prepared: Prepare, kernels: Path, store: Store, tmp_path: Path) -> None:
    """Equal steps of several targets are one: with a disk of whole GiB, xen's and ebs's are the same."""
    result = prepared(
        kernels / "hello.xen", targets=("xen", "ebs"), out=f"{tmp_path}/out/", settings={"disk.size": "1GiB"}
    )
    names = [step.name for step in result.plan.steps()]
    assert names.count("root") == 1
    xen, ebs = build(result.plan, store)
    assert xen.digest == ebs.digest
