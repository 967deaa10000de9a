"""OpenStack's importer of VHDs against a pool: importer.py URL USER PASSWORD SR IMAGE.tgz; prints its VDIs.

A program of its own: os-xenapi brings eventlet, which is no guest for a test's process.
"""

import json
import sys
from typing import Any
from urllib.parse import urlparse

from os_xenapi.client.image.vdi_handler import ImageStreamToVDIs
from os_xenapi.client.session import XenAPISession


class Session(XenAPISession):  # type: ignore[misc]
    """Without what it wants of dom0's plug-ins, and with a port in its URL."""

    def _verify_plugin_version(self) -> None:
        pass

    def _get_ip_from_url(self, url: str) -> Any:  # noqa: ANN401 -- as it is there
        return urlparse(url).hostname


def main(url: str, user: str, password: str, sr: str, image: str) -> None:
    """Log in, import, log out."""
    session = Session(url, user, password, concurrent=1)
    instance = {"name": "hello", "uuid": "3fe8ff1a-0000-4000-8000-000000000000"}
    with open(image, "rb") as stream:
        work = ImageStreamToVDIs(None, session, instance, url, sr, stream)
        work.start()
    print(json.dumps({"vdis": work.vdis, "version": session.product_version, "brand": session.product_brand}))
    session.call_xenapi("session.logout")


if __name__ == "__main__":
    main(*sys.argv[1:])
