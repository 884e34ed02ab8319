"""DRAM (Electronics 2026, 15(5), 969; arXiv 2207.07278) and the rows of its Tables 4 to 7, which are options of it.

`dram` is the system; the other modules are its options, its blocks, and its ways of reading and labelling a text. The
systems that the papers compare it with are families of their own, and the BiLSTM-CRF it shares is in `avebench.nn`.
"""
