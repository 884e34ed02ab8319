"""Cells at work: workers, processes, progress, and trained systems on new products.

What is to be run is decided in `planning`; what comes of it is shown by `tables`.
"""
