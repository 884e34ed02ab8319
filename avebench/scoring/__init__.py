"""Metrics and their significance: pure functions from gold and predictions to counts and ratios.

Where a score is stored, and how it is printed, is said elsewhere.
"""
