"""Error against cost of the solver and of the learned models on this machine, and the engine that follows from it.

``cases``: what is computed. ``candidates``: what computes it. ``bench``: a whole run. ``rows``: its rows, their files
and this machine's table. ``curves``: cost at equal error. ``choice``: the cheapest engine that meets a tolerance, which
needs no torch where the table is there. ``report``: how a run is written down. ``cli``: ``phasetwin bench frontier``.
"""
