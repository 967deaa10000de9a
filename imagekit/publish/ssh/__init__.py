"""Open-source Xen: an image to a host over SSH, and its domain there.

`address` and `connection` are SSH, `transfer` moves a sparse file, `xl` is the toolstack over there, `domain`
starts, replaces and watches, `xen` is the whole of a publication, `keeper` takes it back.
"""
