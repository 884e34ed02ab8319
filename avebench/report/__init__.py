"""The report: one self-contained HTML page, or its tables in other formats, from stored results and predictions.

Figures and tables that `run` prints as well belong to `tables` and `analysis`.
"""
