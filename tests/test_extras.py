"""Which extra brings what an uploader needs."""

import pytest

from imagekit.extras import extra_of, missing


@pytest.mark.parametrize("package, extra", [("paramiko", "xcp"), ("boto3", "aws"), ("nimbus", "")])
def test_extras(package: str, extra: str) -> None:
    assert extra_of(package) == extra


def test_what_is_missing_is_told_with_its_remedy() -> None:
    error = missing("publishing xen", ModuleNotFoundError("no", name="paramiko.client"))
    assert (error.brief, error.hint) == ("publishing xen needs paramiko", "pip install 'imagekit[xcp]'")
    openstack = missing("x", ModuleNotFoundError("no", name="openstack.connection"))
    assert openstack.hint == "pip install 'imagekit[openstack]'"
    assert missing("x", ModuleNotFoundError("no", name="nimbus")).hint == "pip install nimbus"
