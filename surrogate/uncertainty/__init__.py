"""Bands with tested coverage, and the domain in which a model may be trusted."""
