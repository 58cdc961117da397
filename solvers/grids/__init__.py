"""Grids and how fields are represented on them."""
