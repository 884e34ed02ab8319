"""Results and where they lie: the schema of a result, its folder, counts of examples, provenance, costs.

Nothing here runs a cell or renders a table.
"""
