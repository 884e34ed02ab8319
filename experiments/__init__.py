"""Experiments as data: one TOML file per table, and the published figures."""
