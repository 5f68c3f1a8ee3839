"""Agents that trade."""
