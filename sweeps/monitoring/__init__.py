"""A sweep to be watched while it runs: facts that the driver keeps, shown in Dask's dashboard and by Prometheus.

``facts`` says what they are; ``driver`` gathers and sends them; ``plugin`` keeps and serves them in the scheduler.
``page`` draws them; ``metrics`` hands them to Prometheus; ``report`` saves Dask's own account of a run.
``phasetwin status`` makes the same facts from the store alone.
"""
