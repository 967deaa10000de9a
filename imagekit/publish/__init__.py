"""Publishing: bytes that are already right go to a cloud. The network's client is the caller's."""
