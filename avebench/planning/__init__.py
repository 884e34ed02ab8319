"""From a request to a plan: experiment files, rows, resolved configs, cells and their keys.

Nothing here imports torch or trains; a plan can be made and printed without running it.
"""
