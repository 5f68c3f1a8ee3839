"""Generators of order flow and of return paths."""

from marketsim.generators.base import OrderFlowGenerator, create, load, name_of, names, shipped
from marketsim.generators.returns import ReturnGenerator

__all__ = [
    "OrderFlowGenerator",
    "ReturnGenerator",
    "create",
    "load",
    "name_of",
    "names",
    "shipped",
]
