"""OpenStack on Xen, and Rackspace's cloud: images by Glance and Swift, through openstacksdk.

`private` and `rackspace` are the two ways to an image; `publication` is what they share.
"""
