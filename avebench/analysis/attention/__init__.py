"""Explanations of predictions, drawn and laid out: attention over pictures, tags, ranges."""
