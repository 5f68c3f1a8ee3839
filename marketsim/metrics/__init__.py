"""Measures of a market beside a real one."""
