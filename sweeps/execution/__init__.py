"""Running a plan: what is left to do, batches, trajectories, spot checks."""
