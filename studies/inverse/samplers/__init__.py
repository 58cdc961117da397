"""Samplers: what proposes the trials of a study, by name from a registry."""
