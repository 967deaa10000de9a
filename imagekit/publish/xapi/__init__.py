"""Uploading to Xen Cloud Platform, XenServer and XCP-ng, over XAPI: disks into VDIs, and their VMs.

`address`, `credentials` and `trust` say who speaks to whom, `session` calls, `storage` and `disk` bring a
disk, `machine` makes and starts the VM, `publication` goes the way through them, `undo` takes back.
"""
