"""Rehearsals: a stand-in for an AWS account, on loopback, that is as strict as the real one."""
