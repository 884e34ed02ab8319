"""avebench: benchmark and reproduction harness for attribute value extraction (AVE)."""

__version__ = "0.1.0"
