"""Trained rows at work: which one is meant, loading it, products in, predictions out."""
