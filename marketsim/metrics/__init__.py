"""Measures of realism: how much one tape resembles another."""
