"""Frames as data."""
