"""Amazon: the block put of the EBS direct APIs, fast. Every other call is boto3's."""
