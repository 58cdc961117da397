"""Errors that the solvers make and report, against converged solutions of sixty cases."""
