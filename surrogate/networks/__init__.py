"""Networks: pure torch modules that know shapes and nothing of files, sweeps or physics."""
