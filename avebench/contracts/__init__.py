"""What the author of a plug-in reads: examples, predictions, tags and spans, the contracts of models and data sets.

Also how plug-ins are found, controls, and seeds. Nothing here reads a file format, scores, or trains.
"""
