"""Recipes are read key by key, merged, expanded, and overridden."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imagekit.errors import RecipeError, UsageError
from imagekit.recipe import MIB, Image, epoch, from_kernel, parse_size, read, setting, stem

Read = Callable[..., tuple[Image, ...]]

EVERYTHING = """
name = "every-key_1.0"
kernel = "k/app.xen"
ramdisk = "k/initrd"
targets = ["xen", "ebs"]
boot = "pv"
cmdline = " --ipv4=10.0.0.2/24 'a b' "
memory = "1GiB"
vcpus = 512
variables = ["NOT_USED"]

[root]
kernel = "/boot/app-1.0+x~y@z.xen"
from = "system.tar"
tag = "12-slim"
files = [{ from = "site" }, { from = "/etc/motd", to = "/etc/", owner = "33:33", mode = "0600" }]
run = [{ run = "true", network = true, timeout = 9, environment = { A = "b" } }, { run = ["/bin/true", "x"] }]
hostname = "web-1.example"
ssh = [{ keys = ["id.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me"] }, { user = "me", keys = ["/k.pub"] }]

[root.diskimage-builder]
elements = ["debian-minimal", "ours"]
elements_path = ["elements"]
packages = ["openssh-server", "g++"]
release = "bookworm"
environment = { DIB_DISTRIBUTION_MIRROR = "http://mirror.example/debian" }
arch = "amd64"

[filesystem]
type = "ext4"
maker = "guestfs"
size = "48MiB"
free = 0
label = "a.B-c_1"
block_size = 4096

[disk]
layout = "gpt"
size = 67108864
boot = "8MiB"
path = "/srv/app.img"

[[vif]]
bridge = "xenbr0"
mac = "00:16:3e:00:00:01"
ip = "10.0.0.2"
script = "vif-bridge"

[[extra_disk]]
path = "/srv/data.vhd"
vdev = "xvdb"
access = "ro"
format = "vhd"

[xen]
loader = "direct"
kernel_path = "/srv/app.xen"

[prove]
expect = "ready"
power_off = true
timeout = 30
network = "10.0.0.1/24"
get = "http://10.0.0.2/"
expect_body = "Welcome"

[provenance]
write = true
builder = "https://farm.example/1"

[ami]
private_key = "pk.pem"
cert = "cert.pem"
user = "123456789012"
ec2_cert = "ec2.pem"
kernel = "aki-dc9ed9af"
secrets = "aes"

[publish.ami]
bucket = "our-bundles"
prefix = "images/"
name = "every key"
on_name_clash = "reuse"
description = "a bundle"
tags = { team = "web" }
kernel = "aki-dc9ed9af"
instance_types = ["t2.micro"]
share_with = ["123456789012"]
public = true
deprecate_at = "2030-01-01T00:00Z"
workers = 4

[publish.ebs]
regions = ["eu-west-1", "us-gov-west-1"]
copy_snapshot = true
name = "every key"
on_name_clash = "suffix"
description = "all of them"
tags = { team = "web" }
kernel = "aki-dc9ed9af"
root_device = "/dev/xvda"
volume_type = "standard"
encrypted = true
kms_key = "arn:aws:kms:eu-west-1:123456789012:key/x"
parent = "snap-0123456789abcdef0"
instance_types = ["t2.micro", "m4.large"]
share_with = ["123456789012"]
public = true
deprecate_at = "2030-01-01T00:00Z"
workers = 8
uploader = "boto3"

[publish.xen]
host = "root@dom0.example"
folder = "/srv/images"
start = true
replace = true
watch = 9

[publish.openstack]
os_cloud = "mycloud"
regions = ["RegionOne"]
name = "every key"
container = "images"
segment = "64MiB"
workers = 2
hypervisor = "xen"
patience = 60
start = true
flavor = "small"
network = "lan"
watch = 9
properties = { team = "web" }
method = "staged"
visibility = "shared"
tags = ["a"]

[publish.rackspace]
os_cloud = "mycloud"
regions = ["RegionOne"]
name = "every key"
container = "images"
segment = "64MiB"
workers = 2
hypervisor = "xen"
patience = 60
start = true
flavor = "small"
network = "lan"
watch = 9
properties = { team = "web" }

[openstack]
format = "ovf"
[qubes]
format = "template"
name = "every-key"
label = "green"
netvm = "sys-net"
provides_network = true
features = { qubes-firewall = "1" }
[xcp]
format = "xva"
packing = "zstd"
loader = "direct"
description = "every key"
tags = ["a", "b"]
platform = { nx = "true" }
vif = [{ network = "lan", bridge = "xenbr0", mac = "00:16:3e:00:00:02", mtu = 9000 }]

[publish.xcp]
host = "pool.example"
user = "root"
credentials = "xe"
fingerprints = ["AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB"]
ca = "ca.pem"
sr = "Local storage"
vm = true
start = true
replace = true
watch = 9
check = true
patience = 60
ssh = "root@pool.example"
guest_folder = "/boot/guest"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Read:
    """Return a function that writes a text into app.toml and reads it: recipe(text, settings={…}, NAME=value)."""

    def read_it(text: str, settings: Mapping[str, object] | None = None, **environment: str) -> tuple[Image, ...]:
        (tmp_path / "app.toml").write_text(text)
        return read(tmp_path / "app.toml", settings or {}, environment)

    return read_it


def test_every_key(recipe: Read, tmp_path: Path) -> None:
    (image,) = recipe(EVERYTHING)
    found = image.model_dump(by_alias=True, include=set(Image.model_fields))
    assert found == {
        "name": "every-key_1.0",
        "kernel": tmp_path / "k" / "app.xen",
        "ramdisk": tmp_path / "k" / "initrd",
        "matrix": None,
        "targets": ("xen", "ebs"),
        "boot": "pv",
        "cmdline": "--ipv4=10.0.0.2/24 'a b'",
        "memory": 1 << 30,
        "vcpus": 512,
        "root": {
            "from": tmp_path / "system.tar",
            "tag": "12-slim",
            "diskimage-builder": {
                "elements": ("debian-minimal", "ours"),
                "elements_path": (tmp_path / "elements",),
                "packages": ("openssh-server", "g++"),
                "release": "bookworm",
                "environment": {"DIB_DISTRIBUTION_MIRROR": "http://mirror.example/debian"},
                "arch": "amd64",
            },
            "kernel": "/boot/app-1.0+x~y@z.xen",
            "files": (
                {"from": tmp_path / "site", "to": "/", "owner": None, "mode": None},
                {"from": Path("/etc/motd"), "to": "/etc/", "owner": "33:33", "mode": "0600"},
            ),
            "run": (
                {"run": "true", "network": True, "timeout": 9, "environment": {"A": "b"}},
                {"run": ("/bin/true", "x"), "network": False, "timeout": 600, "environment": {}},
            ),
            "hostname": "web-1.example",
            "ssh": (
                {"user": "root", "keys": (tmp_path / "id.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me")},
                {"user": "me", "keys": (Path("/k.pub"),)},
            ),
        },
        "filesystem": {
            "type": "ext4",
            "maker": "guestfs",
            "size": 48 * MIB,
            "free": 0,
            "label": "a.B-c_1",
            "block_size": 4096,
        },
        "disk": {
            "layout": "gpt",
            "size": 64 * MIB,
            "boot": 8 * MIB,
            "lvm": None,  # which takes no size of the file system
            "path": "/srv/app.img",
        },
        "vif": ({"bridge": "xenbr0", "mac": "00:16:3e:00:00:01", "ip": "10.0.0.2", "script": "vif-bridge"},),
        "extra_disk": ({"path": "/srv/data.vhd", "vdev": "xvdb", "access": "ro", "format": "vhd"},),
        "xen": {"loader": "direct", "kernel_path": "/srv/app.xen"},
        "xcp": {
            "format": "xva",
            "packing": "zstd",
            "loader": "direct",
            "description": "every key",
            "tags": ("a", "b"),
            "platform": {"nx": "true"},
            "vif": ({"network": "lan", "bridge": "xenbr0", "mac": "00:16:3e:00:00:02", "mtu": 9000},),
        },
        "openstack": {"format": "ovf"},
        "qubes": {
            "format": "template",
            "name": "every-key",
            "label": "green",
            "netvm": "sys-net",
            "provides_network": True,
            "features": {"qubes-firewall": "1"},
        },
        "prove": {
            "expect": "ready",
            "power_off": True,
            "timeout": 30,
            "network": "10.0.0.1/24",
            "get": "http://10.0.0.2/",
            "expect_body": "Welcome",
        },
        "provenance": {"write": True, "builder": "https://farm.example/1"},
        "ami": {
            "private_key": tmp_path / "pk.pem",
            "cert": tmp_path / "cert.pem",
            "user": "123456789012",
            "ec2_cert": tmp_path / "ec2.pem",
            "kernel": "aki-dc9ed9af",
            "secrets": tmp_path / "aes",
        },
        "publish": {
            "ami": {
                "bucket": "our-bundles",
                "prefix": "images/",
                "name": "every key",
                "on_name_clash": "reuse",
                "description": "a bundle",
                "tags": {"team": "web"},
                "kernel": "aki-dc9ed9af",
                "instance_types": ("t2.micro",),
                "share_with": ("123456789012",),
                "public": True,
                "deprecate_at": "2030-01-01T00:00Z",
                "workers": 4,
            },
            "ebs": {
                "regions": ("eu-west-1", "us-gov-west-1"),
                "copy_snapshot": True,
                "name": "every key",
                "on_name_clash": "suffix",
                "description": "all of them",
                "tags": {"team": "web"},
                "kernel": "aki-dc9ed9af",
                "root_device": "/dev/xvda",
                "volume_type": "standard",
                "encrypted": True,
                "kms_key": "arn:aws:kms:eu-west-1:123456789012:key/x",
                "parent": "snap-0123456789abcdef0",
                "instance_types": ("t2.micro", "m4.large"),
                "share_with": ("123456789012",),
                "public": True,
                "deprecate_at": "2030-01-01T00:00Z",
                "workers": 8,
                "uploader": "boto3",
            },
            "xen": {
                "host": "root@dom0.example",
                "folder": "/srv/images",
                "start": True,
                "replace": True,
                "watch": 9,
            },
            "openstack": {
                "os_cloud": "mycloud",
                "regions": ("RegionOne",),
                "name": "every key",
                "properties": {"team": "web"},
                "container": "images",
                "segment": 64 * MIB,
                "workers": 2,
                "hypervisor": "xen",
                "patience": 60,
                "start": True,
                "flavor": "small",
                "network": "lan",
                "watch": 9,
                "method": "staged",
                "visibility": "shared",
                "tags": ("a",),
            },
            "rackspace": {
                "os_cloud": "mycloud",
                "regions": ("RegionOne",),
                "name": "every key",
                "properties": {"team": "web"},
                "container": "images",
                "segment": 64 * MIB,
                "workers": 2,
                "hypervisor": "xen",
                "patience": 60,
                "start": True,
                "flavor": "small",
                "network": "lan",
                "watch": 9,
            },
            "xcp": {
                "host": "pool.example",
                "user": "root",
                "credentials": tmp_path / "xe",
                "fingerprints": (":".join(["AB"] * 32),),
                "ca": tmp_path / "ca.pem",
                "sr": "Local storage",
                "vm": True,
                "start": True,
                "replace": True,
                "watch": 9,
                "check": True,
                "patience": 60,
                "ssh": "root@pool.example",
                "guest_folder": "/boot/guest",
            },
        },
    }


def test_a_kernel_is_all_that_a_recipe_needs(recipe: Read, tmp_path: Path) -> None:
    (image,) = recipe('kernel = "other.xen"')
    assert (image.name, image.kernel, image.targets) == ("app", tmp_path / "other.xen", ("xen",))
    assert (image.memory, image.vcpus, image.cmdline, image.boot) == (64 * MIB, 1, "", "auto")
    assert (image.filesystem.type, image.filesystem.size, image.disk.layout) == ("ext2", None, "auto")
    (bare,) = from_kernel(tmp_path / "My App!.xen.gz", {}, {})
    assert (bare.name, bare.kernel) == ("My-App-", tmp_path / "My App!.xen.gz")
    with pytest.raises(RecipeError, match="no kernel is named"):
        recipe("memory = 67108864")


def test_none_is_no_size() -> None:
    """TOML has no null, but a caller's settings may."""
    with pytest.raises(RecipeError, match='"auto" leaves a size to imagekit'):
        from_kernel(Path("a.xen"), {"disk.size": None}, {})


def test_several_images_with_common_keys(recipe: Read, tmp_path: Path) -> None:
    one, two, three = recipe("""
        kernel = "a.xen"
        memory = "32MiB"
        targets = ["ebs"]
        [filesystem]
        type = "ext3"
        label = "common"
        [root]
        files = [{ from = "site" }]
        [[image]]
        [[image]]
        name = "two"
        kernel = "b.xen"
        memory = "16MiB"
        filesystem.label = "own"
        filesystem.free = "2MiB"
        [[image]]
        name = "three"
        [image.root]
        kernel = "/k"
        [[image.root.files]]
        from = "other"
        [image.disk]
        layout = "mbr"
    """)
    assert [image.name for image in (one, two, three)] == ["a", "two", "three"]
    assert [image.kernel for image in (one, two, three)] == [tmp_path / f"{name}.xen" for name in "aba"]
    assert [image.memory for image in (one, two, three)] == [32 * MIB, 16 * MIB, 32 * MIB]
    assert [image.targets for image in (one, two, three)] == [("ebs",)] * 3
    assert [image.filesystem.type for image in (one, two, three)] == ["ext3"] * 3
    assert [image.filesystem.label for image in (one, two, three)] == ["common", "own", "common"]
    assert two.filesystem.free == 2 * MIB
    # Tables are merged, arrays are replaced.
    assert [file.source.name for file in one.root.files] == ["site"]
    assert [file.source.name for file in three.root.files] == ["other"]
    assert three.root.kernel == "/k"
    assert three.disk.layout == "mbr"


def test_image_names_are_told_apart(recipe: Read) -> None:
    with pytest.raises(RecipeError, match="two images are named 'a'"):
        recipe('kernel = "a.xen"\n[[image]]\n[[image]]')
    with pytest.raises(RecipeError, match="two images are named 'all'"):
        recipe('kernel = "a.xen"\nname = "all"\n[[image]]\n[[image]]')
    assert [image.name for image in recipe('kernel = "a.xen"\nname = "one"\n[[image]]')] == ["one"]
    assert [image.name for image in recipe('kernel = "a.xen"\nimage = []')] == ["app"]


def test_settings_lie_over_the_recipe(recipe: Read) -> None:
    settings = {"filesystem.type": "ext4", "memory": "16MiB", "disk.size": "1GiB"}
    (image,) = recipe('kernel = "a.xen"\nmemory = "32MiB"\nfilesystem = { label = "kept" }', settings)
    assert (image.memory, image.disk.size) == (16 * MIB, 1 << 30)
    assert (image.filesystem.type, image.filesystem.label) == ("ext4", "kept")
    one, two = recipe(
        'kernel = "a.xen"\n[[image]]\nname = "x"\nfilesystem.free = 0\n[[image]]\nname = "y"\nmemory = "32MiB"',
        settings,
    )
    assert (one.filesystem.type, two.filesystem.type) == ("ext4", "ext4")
    assert (one.filesystem.free, one.memory, two.memory) == (0, 16 * MIB, 16 * MIB)
    with pytest.raises(UsageError, match="memory is no table"):
        recipe('kernel = "a.xen"\nmemory = "32MiB"', {"memory.size": 1})
    with pytest.raises(RecipeError, match="filesystm: no such key"):
        recipe('kernel = "a.xen"', {"filesystm.type": "ext4"})


@pytest.mark.parametrize(
    "text, expected",
    [
        ("memory=64", ("memory", 64)),
        ('name="a"', ("name", "a")),
        ("cmdline=--x=1 --y", ("cmdline", "--x=1 --y")),
        ("cmdline=", ("cmdline", "")),
        ("cmdline=5", ("cmdline", "5")),
        ("name=1979-05-27", ("name", "1979-05-27")),
        ("ami.user=123456789012", ("ami.user", "123456789012")),
        ("root.from=7", ("root.from", "7")),
        ("publish.openstack.properties.x=5", ("publish.openstack.properties.x", "5")),
        ("disk.size=7", ("disk.size", 7)),
        ("publish.xcp.vm=true", ("publish.xcp.vm", True)),
        ("nosuch.key=5", ("nosuch.key", 5)),
        ("filesystem.type=ext4", ("filesystem.type", "ext4")),
        ('targets=["xen", "ebs"]', ("targets", ["xen", "ebs"])),
        ("vif=[{bridge='br0'}]", ("vif", [{"bridge": "br0"}])),
        ("vcpus=" + "9" * 5000, ("vcpus", "9" * 5000)),
        ("name=" + "[" * 5000, ("name", "[" * 5000)),
    ],
)
def test_a_setting_is_toml_or_else_a_text(text: str, expected: tuple[str, object]) -> None:
    assert setting(text) == expected


@pytest.mark.parametrize("text", ["memory", "=64", "a b=1", "", "1=2"])
def test_what_is_no_setting(text: str) -> None:
    with pytest.raises(UsageError, match="key=value"):
        setting(text)


def test_variables_stand_only_where_they_are_let_in(recipe: Read) -> None:
    text = """
        variables = ["BUILD", "WHERE"]
        kernel = "${WHERE}/a.xen"
        cmdline = "build=${BUILD} ${BUILD} $BUILD $ {BUILD} ${}"
        memory = "${BUILD}MiB"
        [[root.files]]
        from = "${WHERE}"
        to = "/${WHERE}"
    """
    (image,) = recipe(text, BUILD="16", WHERE="w", OTHER="x")
    assert image.kernel is not None
    assert image.kernel.parts[-2:] == ("w", "a.xen")
    assert image.cmdline == "build=16 16 $BUILD $ {BUILD} ${}"
    assert image.memory == 16 * MIB
    assert image.root.files[0].to == "/w"
    with pytest.raises(RecipeError, match="BUILD is not set"):
        recipe(text, WHERE="w")
    with pytest.raises(RecipeError, match=r"\$\{OTHER\} is not among the recipe's variables") as caught:
        recipe('kernel = "${OTHER}"', OTHER="x")
    assert 'variables = ["OTHER"]' in caught.value.hint


def test_a_doubled_dollar_stands_for_one(recipe: Read) -> None:
    (image,) = recipe('kernel = "a"\nvariables = ["A"]\ncmdline = "$${A} ${A} $$A $$${A}"', A="1")
    assert image.cmdline == "${A} 1 $$A $${A}"


def test_what_a_variable_holds_is_not_expanded_again(recipe: Read) -> None:
    (image,) = recipe('kernel = "a"\nvariables = ["A", "B"]\ncmdline = "${A}"', A="${B}", B="no")
    assert image.cmdline == "${B}"


def test_variables_of_a_bare_kernel(tmp_path: Path) -> None:
    settings: dict[str, object] = {"cmdline": "${A}", "variables": ["A"]}
    (image,) = from_kernel(tmp_path / "a.xen", settings, {"A": "1"})
    assert image.cmdline == "1"
    with pytest.raises(RecipeError, match="the command line: the variable A is not set"):
        from_kernel(tmp_path / "a.xen", settings, {})
    with pytest.raises(RecipeError, match="the command line: "):
        from_kernel(tmp_path / "a.xen", {"cmdline": "${A}"}, {"A": "1"})
    with pytest.raises(RecipeError, match=r"the command line: variables\.0: input should be a valid string"):
        from_kernel(tmp_path / "a.xen", {"variables": [1]}, {})


@pytest.mark.parametrize(
    "value, expected",
    [
        (0, 0),
        (5, 5),
        ("0", 0),
        ("7", 7),
        ("7B", 7),
        ("7b", 7),
        ("64MiB", 64 * MIB),
        ("64mib", 64 * MIB),
        ("64 MiB", 64 * MIB),
        ("064MiB", 64 * MIB),
        ("1KiB", 1024),
        ("2gIb", 2 << 30),
        ("9999TiB", 9999 << 40),
    ],
)
def test_sizes(value: object, expected: int) -> None:
    assert parse_size(value) == expected


@pytest.mark.parametrize(
    "value",
    ["", "MiB", "64MB", "64M", "1.5GiB", "-1", "1e3", " 64MiB", "64MiB\n", "\u0663MiB", True, 1.0, None, []],
)
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="a size is a number of bytes"):
        parse_size(value)


@pytest.mark.parametrize(
    "path, name",
    [
        ("app.xen", "app"),
        ("a/b/app.xen.gz", "app"),
        ("vmlinuz-6.1.0", "vmlinuz-6.1.0"),
        (".hidden.bin", "hidden"),
        ("gr\u00fc\u00dfe.elf", "gr--e"),
        ("---.xen", "image"),
        (".xen", "image"),
        ("x" * 100 + ".xen", "x" * 63),
        ("app.toml", "app"),
    ],
)
def test_an_image_is_named_after_its_file(path: str, name: str) -> None:
    assert stem(Path(path)) == name


@pytest.mark.parametrize("text, seconds", [("1", 1), ("0946684800", 946684800), (str(2**32 - 1), 2**32 - 1)])
def test_source_date_epoch(text: str, seconds: int) -> None:
    assert epoch({"SOURCE_DATE_EPOCH": text}) == seconds
    assert epoch({}) == 946684800


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1.0", "now", " 1", "1 ", "\u00b2", "\u0663", str(2**32), "9" * 5000, "0x10"]
)
def test_source_date_epoch_nonsense(text: str) -> None:
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        epoch({"SOURCE_DATE_EPOCH": text})
