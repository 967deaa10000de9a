"""Open-source Xen: an image to a host over SSH, and its domain there.

`address` and `connection` are SSH, `transfer` moves a sparse file, `xl` is the toolstack over there, `image` and
`domain` are the two halves of a publication, `xen` is the whole, `keeper` takes it back.
"""
