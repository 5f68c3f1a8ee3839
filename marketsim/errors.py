"""Errors that a user can mend; a bug is anything else."""


class MarketSimError(Exception):
    """Base of every error that names a field, a rule and the value that broke it.

    The command line prints the message as one line and exits with code 2.
    """


class ConfigError(MarketSimError, ValueError):
    """A configuration that cannot be run: unknown key, wrong type, value out of range."""


class DataError(MarketSimError, ValueError):
    """Market data, or a file of ours, that is missing, malformed or contradicts itself."""


class OrderError(MarketSimError, ValueError):
    """An order that cannot be expressed: rejected before it was sent."""


class ModelError(MarketSimError, ValueError):
    """A generative model that is missing, damaged or used with data it was not made for."""


class StateError(MarketSimError, RuntimeError):
    """An operation on a simulation whose state does not allow it (fork, save, load, growth)."""


class ActionError(MarketSimError, ValueError):
    """An action that an environment does not take: wrong shape, not finite, out of its space."""
