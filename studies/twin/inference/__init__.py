"""From frames to a posterior."""
