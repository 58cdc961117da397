"""Inverse design: Optuna studies on top of sweeps, and no optimum without a re-solve.

``config`` is the YAML; ``terms`` turn results into losses; ``samplers`` propose; ``evaluation`` runs points through the
sweep engine; ``ladder`` keeps what higher rungs said and corrects lower ones by it; ``search`` decides what comes next;
``study`` puts them together; ``report`` shows it.
"""
