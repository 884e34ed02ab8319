"""Where results lie if no folder is named; apart, so that the command line imports nothing heavy for it."""

from pathlib import Path

RUNS = Path("runs")
"""Folder of the finished cells where none is named."""
