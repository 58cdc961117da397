"""Calibration of learned models on finished sweeps: bands, the trust domain, and how well both do on fresh ones.

``samples``: starts and true statistics of a store, and a model's rollouts of them. ``fit``: bands. ``trust_domain``:
the domain. ``coverage``: coverage and flags. ``run``: all of it, for ``phasetwin evaluate MODEL --calibrate``.
"""
