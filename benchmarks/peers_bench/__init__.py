"""Error against cost of public phase-field peers and of this project's own schemes, on one problem in one run."""
