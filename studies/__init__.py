"""Inverse design and digital twins on top of sweeps. Nothing is shipped yet: see the changelog."""
