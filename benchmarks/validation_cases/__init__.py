"""The cases behind ``python benchmarks/validation.py``: each compares the solvers with something independent."""
