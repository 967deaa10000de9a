"""Reads artifacts back with tools other than those that made them."""
