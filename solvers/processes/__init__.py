"""Processes: one equation a file, with its free energy and parameters."""
