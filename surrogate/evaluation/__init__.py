"""One harness for everything that is measured on learned models, under model cards and the frontier.

``cases``: what is computed. ``references``: its truth, kept on disk. ``candidates``: what answers, and what that costs.
``image_metrics``, ``statistics``: how far an answer is off. ``tables``, ``pictures``: how that is written down. On top
of these the card: ``protocol`` and ``clips`` (cases), ``scores``, ``card``, ``cli`` (``phasetwin evaluate``); and in
``frontier`` error against cost.
"""
