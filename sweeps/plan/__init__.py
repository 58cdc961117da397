"""From a configuration to points, trajectories, batches, keys and cost."""
