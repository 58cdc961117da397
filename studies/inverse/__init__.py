"""Inverse design: Optuna studies on top of sweeps, every optimum solved again by the reference solver.

``config`` is the YAML; ``problem`` puts it together with its sweep, as a ``space`` of variables and criteria.
``objectives``: features of results, and losses of features. ``samplers`` propose trials. ``search``: ``policy`` decides
what comes next, ``runner`` carries it out through the sweep engine, ``fidelity`` corrects cheap results by expensive
ones. ``verification``: results, equivalent optima, sensitivities. ``study`` runs all of it; ``report`` shows it.
"""
