"""Generators of order flow and of return paths."""

from marketsim.generators.base import OrderFlowGenerator, create, load, names, shipped

__all__ = ["OrderFlowGenerator", "create", "load", "names", "shipped"]
