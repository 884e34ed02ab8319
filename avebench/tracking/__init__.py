"""MLflow, where people browse: a copy of the results, and the server that shows it.

The files under the output folder are the truth; nothing reads results back from here.
"""
