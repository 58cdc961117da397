"""Learned models: on disk, loaded by name or path, and run."""
