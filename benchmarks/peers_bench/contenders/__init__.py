"""One module per contender; each imports its library only when a solver is built."""
