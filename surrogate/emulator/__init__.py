"""The emulator: statistics of a sweep at parameters and times that were never run."""
