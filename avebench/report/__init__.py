"""The report: one self-contained HTML page, or its tables in other formats, from stored results and predictions."""
