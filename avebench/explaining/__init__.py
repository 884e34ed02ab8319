"""Explanations of single predictions, shown and drawn."""
