"""How a study searches: trials, samplers, fidelity levels."""
