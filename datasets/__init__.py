"""Data set plug-ins: one module per data set."""
