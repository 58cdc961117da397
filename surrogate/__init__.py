"""Learned steppers and the emulator of statistics. Nothing is shipped yet: see the changelog."""
