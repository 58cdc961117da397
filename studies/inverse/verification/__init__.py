"""What is verified by the solver, and what a study leaves."""
