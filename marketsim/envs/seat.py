"""A learning agent's place in a market: its task, and the row of numbers that it is told."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.compile import direct
from marketsim.envs.learner import OBSERVATION, TERMINATED, TRUNCATED, is_away, leave
from marketsim.envs.stepping import call_learner
from marketsim.envs.task import Task


class Seat:
    """One learning agent.

    Parameters
    ----------
    name : of the agent in the market.
    task : what it is there to do.
    agent : its number in the market.

    Attributes
    ----------
    row : float64[row_width] – action, reward, ends, observation, information.
    """

    def __init__(self, name: str, task: Task, agent: int) -> None:
        self.name, self.task, self.agent = name, task, agent
        self.seen = slice(OBSERVATION, OBSERVATION + len(task.observed))
        self.told = list(task.told.items())
        self.row_width = self.seen.stop + len(self.told)
        self._call = direct(call_learner, 4)
        self.bind(np.zeros(self.row_width))

    def __getstate__(self) -> dict[str, Any]:
        # Addresses and machine code are of one row in one process.
        return {"name": self.name, "task": self.task, "agent": self.agent, "row": self.row}

    def __setstate__(self, state: dict[str, Any]) -> None:
        row = state.pop("row")
        Seat.__init__(self, **state)
        self.bind(row)

    def bind(self, row: NDArray[np.float64]) -> None:
        """Keep what is told in this row, which outlives the seat."""
        self.row, self.row_at = row, int(row.ctypes.data)

    # -- by the address of the market's block -----------------------------------------------

    def begin(self, block: int) -> bool:
        """Begin an episode; whether there is a price."""
        return bool(self._call(self.task.begin.address, block, self.agent, self.row_at))

    def show(self, block: int) -> None:
        """Let the task write what there is to see."""
        self._call(self.task.show.address, block, self.agent, self.row_at)

    def leave(self, block: int) -> None:
        """Take all orders back, for good; there must be room for the messages."""
        self._call(leave.address, block, self.agent, self.row_at)

    def is_away(self, block: int) -> bool:
        """Whether it has left."""
        return bool(self._call(is_away.address, block, self.agent, self.row_at))

    # -- what the row says ------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether its episode is over."""
        return bool(self.row[TERMINATED] or self.row[TRUNCATED])

    def observation(self) -> NDArray[np.float32]:
        """A copy of what it sees."""
        return self.row[self.seen].astype(np.float32)

    def info(self, numbers: list[float] | None = None) -> dict[str, Any]:
        """What it is told beside it; ``numbers``: the row, for those who have read it already."""
        told = (self.row.tolist() if numbers is None else numbers)[self.seen.stop :]
        pairs = zip(self.told, told, strict=True)
        return {name: int(value) if kind is int else value for (name, kind), value in pairs}
