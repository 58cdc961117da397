"""Dask clusters: local workers, job queues, remote hosts, security."""
