"""Generators of order flow and of return paths."""
