"""JAVE and M-JAVE (Zhu et al., EMNLP 2020): attributes and tags learnt together, from text alone or with pictures.

`jave` and `m_jave` are the systems, over one network and one set of text sources, of which the files of the release
are one. The row with a double dagger in DRAM's tables is their preset `fine-tuned`, no system of its own.
"""
