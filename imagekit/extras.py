"""Packages that only some commands need, and which extra of ours brings them."""

import re
from importlib.metadata import PackageNotFoundError, requires

from imagekit.errors import ToolError

_PACKAGES = {
    "openstack": "openstacksdk",
    "keystoneauth1": "openstacksdk",
}  # by their modules, where the names differ
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+).*extra == ['\"]([\w-]+)['\"]")


def missing(what: str, error: ModuleNotFoundError) -> ToolError:
    """Return the error for what needs a package that is not installed."""
    module = (error.name or "").partition(".")[0]
    package = _PACKAGES.get(module, module)
    extra = extra_of(package)
    return ToolError(
        f"{what} needs {package}", hint=f"pip install 'imagekit[{extra}]'" if extra else f"pip install {package}"
    )


def extra_of(package: str) -> str:
    """Return the extra of imagekit that brings a package, "" for none."""
    try:
        lines = requires("imagekit") or []
    except PackageNotFoundError:
        return ""
    found = (match for line in lines if (match := _REQUIREMENT.match(line)))
    return next((one[2] for one in found if one[1].lower() == package.lower()), "")
