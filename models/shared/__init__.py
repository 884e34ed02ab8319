"""What several families of systems share and the core does not need: no system, and nothing of one family alone."""
