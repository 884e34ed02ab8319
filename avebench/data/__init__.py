"""Data in and out: gold and predictions as JSON Lines, tag columns, opening a data set, pictures, subsets.

What is counted of an annotation before anything is trained stands here too. Scores do not.
"""
