"""Engines: what turns a start into frames and statistics."""
