"""The fixtures of shared stores."""

from tests.store.farm import bucket, farm, nfs

__all__ = ["bucket", "farm", "nfs"]
