"""Parts of ``benchmarks/chaos.py``: what is run, what is done to it, and the table."""
