"""Dask clusters: the registry of their kinds, workers of this machine, job queues, remote hosts, security."""
