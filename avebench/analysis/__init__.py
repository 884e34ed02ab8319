"""What is made of finished rows: comparisons, sweeps, fractions, costs of a range, attention, statistics, records.

Nothing here trains a row of a table.
"""
