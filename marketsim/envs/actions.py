"""Checks of actions, before anything happens."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from marketsim.envs.learner import ACTION
from marketsim.envs.stepping import put_choices
from marketsim.errors import ActionError


def checked_action(space: spaces.Space[Any], action: Any, row: NDArray[np.float64]) -> None:
    """Write an action of one agent into its row.

    Raises
    ------
    ActionError
        If it is not in the space.
    """
    if isinstance(space, spaces.Discrete):
        row[ACTION] = _discrete(int(space.n), action)
        return
    values = box_action(space, action)
    row[ACTION : ACTION + len(values)] = values


def checked_actions(
    space: spaces.Space[Any], actions: Any, rows: NDArray[np.float64], active: NDArray[np.bool_]
) -> None:
    """Write one action for each row of float64[n, width]; ``space`` is that of one agent.

    Actions of rows that are not active are not looked at.

    Raises
    ------
    ActionError
        If there are not n of them, or one is not in the space.
    """
    if not isinstance(space, spaces.Discrete):
        values = box_actions(space, actions, active)
        rows[:, ACTION : ACTION + values.shape[1]] = values
    else:
        values = _numbers(actions)
        _check_shape("actions", values, (len(rows),))
        if values.dtype.kind not in "iu":
            raise ActionError(f"actions must be whole numbers, were {values.dtype}")
        n = int(space.n)
        wrong = put_choices(np.ascontiguousarray(values, np.int64), n, active, rows)
        if wrong >= 0:
            raise ActionError(f"actions must be from 0 to {n - 1}, one was {values[wrong]}")


def box_action(space: spaces.Space[Any], action: Any) -> NDArray[Any]:
    """Numbers from -1 to 1 in the space's shape.

    Raises
    ------
    ActionError
        If they are not.
    """
    values = _numbers(action)
    _check_shape("action", values, space.shape or ())
    _check_bounds(values)
    return values


def box_actions(space: spaces.Space[Any], actions: Any, active: NDArray[np.bool_]) -> NDArray[Any]:
    """:func:`box_action` of n agents at once, of which only the active ones are looked at."""
    values = _numbers(actions)
    _check_shape("actions", values, (len(active), *(space.shape or ())))
    _check_bounds(values[active])
    return values


def _discrete(n: int, action: Any) -> int:
    if isinstance(action, np.ndarray) and action.shape == ():
        action = action[()]
    if isinstance(action, bool | np.bool_) or not isinstance(action, int | np.integer):
        raise ActionError(f"action must be a whole number from 0 to {n - 1}, was {action!r}")
    if not 0 <= action < n:
        raise ActionError(f"action must be from 0 to {n - 1}, was {action}")
    return int(action)


def _numbers(action: Any) -> NDArray[Any]:
    try:
        values = np.asarray(action)
    except ValueError:
        raise ActionError(f"action must be an array of numbers, was {action!r}") from None
    if values.dtype.kind not in "iuf":
        raise ActionError(f"action must be an array of numbers, was {action!r}")
    return values


def _check_shape(field: str, values: NDArray[Any], shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise ActionError(f"{field} must have shape {shape}, was of shape {values.shape}")


def _check_bounds(values: NDArray[Any]) -> None:
    inside = (values >= -1.0) & (values <= 1.0)  # not a number is not inside either
    if not inside.all():
        raise ActionError(f"action must be from -1 to 1, was {values[~inside][0]}")
