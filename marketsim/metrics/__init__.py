"""Measures of tapes and of experiments."""
