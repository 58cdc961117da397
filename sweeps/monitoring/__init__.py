"""A sweep watched while it runs: facts that the driver gathers, shown in Dask's dashboard and by Prometheus.

``facts`` defines them; ``watcher`` gathers and sends them; ``scheduler_plugin`` keeps and serves them in the scheduler,
``dashboard_page`` draws them, ``prometheus`` exports them. ``status`` makes the same facts from the store alone.
``progress`` shows the points done.
"""
