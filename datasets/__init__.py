"""Data set plug-ins: one module per data set, in a folder of its own where it has more than one.

A data set is the module that an entry point names: it holds `CARD`, `Options` and `Dataset`. Formats that several of
them read are in `avebench.data`.
"""
