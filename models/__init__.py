"""Model plug-ins: one module per system."""
