"""Amazon EC2: EBS snapshots by the EBS direct APIs, and PV-GRUB images made of them.

`upload` (with `blocks`, `connection`, `pace` and `signing`) puts blocks fast; every other call is boto3's.
"""
