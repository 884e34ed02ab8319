"""Systems side by side on the same test examples: finished rows, contrasts, verdicts."""
