"""Model plug-ins: a folder per family of systems, or one module where a family has one system.

A system is the module that an entry point names: it holds `CARD`, `Config` and `Model`, and beside it in its folder
stands what the family's systems are made of. What several families share is in `avebench.models.shared`; blocks that
any system may be built of are in `avebench.nn`.
"""
