"""Packages that only an uploader needs, and which extra of ours brings them."""

import re
from importlib.metadata import PackageNotFoundError, requires

from imagekit.errors import ToolError

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+).*extra == ['\"]([\w-]+)['\"]")


def missing(what: str, error: ModuleNotFoundError) -> ToolError:
    """Return the error for what needs a package that is not installed."""
    package = (error.name or "").partition(".")[0]
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
