"""Parts of ``benchmarks/inverse_design.py``."""
