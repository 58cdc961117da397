"""The fixed evaluation of learned models: one protocol, one set of measures, one card for every model.

``metrics``: measures of images and of statistics. ``physics``: what is measured on the fields of a process.
``protocol``: which trajectories, which frames. ``references``: the solver's trajectories, computed once.
``forecasters``: what is evaluated, and the baselines. ``score``: a model's figures. ``clips``: the same for clips of
others. ``tables``, ``pictures``, ``card``: how they are written down. ``cli``: ``phasetwin evaluate``.
"""
