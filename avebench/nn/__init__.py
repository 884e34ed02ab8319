"""Building blocks of the neural systems."""
