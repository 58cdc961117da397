"""The differentiable model of the observed window."""
