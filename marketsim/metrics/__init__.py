"""Measures: how much one tape resembles another, and what an experiment shows."""
