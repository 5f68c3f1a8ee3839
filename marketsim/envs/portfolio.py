"""Weights over several assets and cash, on return paths, with proportional costs.

References: Jiang, Xu & Liang (2017), A Deep Reinforcement Learning Framework for the Financial
Portfolio Management Problem, arXiv:1706.10059
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from marketsim.checks import choice, integer, mapping, number, positive, refuse_unknown
from marketsim.envs.actions import box_action, box_actions
from marketsim.envs.portfolio_picture import picture, table
from marketsim.envs.portfolio_rows import PortfolioRows, observe, step_rows
from marketsim.envs.return_sources import return_source
from marketsim.envs.vector import Mask, NativeVectorEnv, Step
from marketsim.errors import ConfigError, StateError

Observation = NDArray[np.float32]

#: Bars of an episode where a history or a generator holds more.
USUAL_STEPS = 252
_OPTIONS = ("start", "path", "state")
_PARAMETERS = (
    "returns", "assets", "steps", "lookback", "cost_bps", "return_scale", "ruin", "render_mode",
)  # fmt: skip


@dataclass(frozen=True)
class PortfolioState:
    """An episode in progress, with the state of its random stream."""

    rows: PortfolioRows
    random_state: Mapping[str, Any]


class PortfolioEnv(gymnasium.Env[Observation, NDArray[np.floating[Any]]]):
    """Divide wealth among assets and cash at each bar; long only.

    Parameters
    ----------
    returns : where the paths of log returns come from:
        float64[bars, assets] : one history; episodes are windows of it, from a random bar on
        float64[paths, bars, assets] : episodes are windows of paths drawn at random
        a data frame of log returns, one column an asset : one history
        a path to a CSV or Parquet file of closing prices, times first, then one column an asset
        a path to the folder of a saved generator of returns
        an object with ``.sample(n, seed=...) -> float32[n, bars, assets]`` : a path is drawn
        for each episode
        None : ``GeometricBrownianReturns``
    assets : how many there must be; None: as many as ``returns`` has, 3 where that is None
    steps : bars in an episode; None: a whole path, 252 of it where it is longer
    lookback : bars that the observation shows
    cost_bps : costs of what is traded, sold or spent on purchases [basis points], 0 to 10,000
    return_scale : the observation shows ``tanh(return_scale * log return)``
    ruin : the episode terminates when wealth is below this; wealth starts at 1
    render_mode : None, "ansi" (a table) or "rgb_array" (a picture of the episode so far)

    Spaces
    ------
    action : Box(-1, 1, (assets,), float32); ``(action + 1) / 2`` are the wished weights, scaled
        down where their sum is above 1; the rest is cash
    observation : Box(-1, 1, (lookback * assets + assets + 2,), float32): the last log returns,
        squashed, oldest bar first, 0 where they are not known; the weights as the prices left
        them, cash last, each as ``2 w - 1`` (so that the slice without cash is the action that
        trades nothing); the share of the episode that has passed, as ``2 s - 1``

    The weights chosen at step t earn the return of bar t + 1, which no observation has shown.
    Reward: log growth of wealth, net of costs. ``truncated`` at the path's end, ``terminated`` at
    ruin. Infos: ``step`` (int), ``wealth``, ``turnover`` (traded by wealth before), ``cost`` (in
    units of the wealth at the start), ``growth`` (the reward).

    Options of ``reset``: ``start``, the row of the path at which the episode starts; ``path``,
    the number of the path where several are stored; or ``state`` alone, one of ``save_state``.

    Raises
    ------
    ConfigError, DataError : parameters, options or returns that cannot be used
    ActionError : an action that is not a number, outside the space, or of another shape
    ResetNeeded : a step without an episode
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}

    def __init__(
        self,
        returns: Any = None,
        *,
        assets: int | None = None,
        steps: int | None = None,
        lookback: int = 16,
        cost_bps: float = 10.0,
        return_scale: float = 30.0,
        ruin: float = 0.1,
        render_mode: str | None = None,
        **unknown: Any,
    ) -> None:
        refuse_unknown(type(self).__name__, unknown, _PARAMETERS)
        if assets is not None:
            integer("assets", assets, 1)
        if steps is not None:
            integer("steps", steps, 1)
        integer("lookback", lookback, 1)
        if not 0 <= number("cost_bps", cost_bps) < 10_000:
            raise ConfigError(f"cost_bps must be >= 0 and < 10000, was {cost_bps!r}")
        if not 0 <= number("ruin", ruin) < 1:
            raise ConfigError(f"ruin must be >= 0 and < 1, was {ruin!r}")
        if render_mode is not None:
            choice("render_mode", render_mode, self.metadata["render_modes"])
        self.source = return_source(returns, assets, steps or USUAL_STEPS)
        self.steps = min(self.source.bars, USUAL_STEPS) if steps is None else steps
        if self.steps > self.source.bars:
            raise ConfigError(
                f"steps must be <= {self.source.bars}, the bars in returns, was {steps}"
            )
        self.lookback = lookback
        self.return_scale = positive("return_scale", return_scale)
        self.cost = cost_bps / 10_000
        self.ruin = float(ruin)
        self.render_mode = render_mode
        n = len(self.source.names)
        self.action_space = Box(-1.0, 1.0, (n,), np.float32)
        self.observation_space = Box(-1.0, 1.0, (lookback * n + n + 2,), np.float32)
        self._rows = PortfolioRows.empty(1, self.steps, lookback, n)
        self._active = np.ones(1, dtype=np.bool_)

    # -- the contract -------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode, all in cash; see the class for the options."""
        start, index = self._checked_options(options)
        super().reset(seed=seed)
        if options and "state" in options:
            self.load_state(options["state"])
            return observe(*self._rows)[0], self._quiet_info()
        path = self.source.path(self.np_random, index)
        spare = len(path) - self.steps
        if start is None:
            start = int(self.np_random.integers(spare + 1)) if spare else 0
        self._rows.start(path, start, self.return_scale)
        return observe(*self._rows)[0], self._quiet_info()

    def _quiet_info(self) -> dict[str, Any]:
        """Information when nothing has been traded."""
        step, wealth = int(self._rows.step[0]), float(self.wealth[-1])
        return {"step": step, "wealth": wealth, "turnover": 0.0, "cost": 0.0, "growth": 0.0}

    def step(
        self, action: NDArray[np.floating[Any]]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Rebalance to the wished weights, then let one bar pass."""
        actions = box_action(self.action_space, action).astype(np.float64)
        observations, rewards, terminated, truncated, infos = _step(
            self._rows, actions.reshape(1, -1), self._active, self.cost, self.ruin
        )
        return (
            observations[0],
            float(rewards[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            {name: column[0].item() for name, column in infos.items()},
        )

    def close(self) -> None:
        """Let the episode go; calling it again does nothing."""
        self._rows.step[0], self._rows.over[0] = 0, True

    def render(self) -> Any:
        """Return a table (ansi), a picture uint8[height, width, 3] (rgb_array), or None."""
        if self.render_mode is None:
            return None
        self._refuse_no_episode("render")
        draw = table if self.render_mode == "ansi" else picture
        return draw(self.wealth, self.weights, self.source.names, self.steps)

    # -- what gymnasium does not ask for ------------------------------------------------------

    @property
    def wealth(self) -> NDArray[np.float64]:
        """Wealth at the start and after each step so far: float64[step + 1]."""
        return self._rows.wealth[0, : self._rows.step[0] + 1].copy()

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weights held then, cash last: float64[step + 1, assets + 1]."""
        return self._rows.weights[0, : self._rows.step[0] + 1].copy()

    def known_returns(self) -> NDArray[np.float64]:
        """Return log returns that the observation shows, unsquashed: float64[<= lookback, d]."""
        self._refuse_no_episode("known_returns")
        step, known = int(self._rows.step[0]), int(self._rows.known[0])
        first = step + max(0, self.lookback - known - step)
        return self._rows.returns[0, first : step + self.lookback].copy()

    def save_state(self) -> PortfolioState:
        """Return the episode and the random stream as they are; they can be loaded often.

        Raises
        ------
        StateError : before the first reset
        """
        if not self._began():
            raise StateError("save_state needs an episode: call reset first")
        return PortfolioState(self._rows.copies(), self.np_random.bit_generator.state)

    def load_state(self, state: PortfolioState) -> None:
        """Go on from a state that ``save_state`` returned.

        Raises
        ------
        StateError : not a state, or one of other steps, lookback or assets
        """
        if not isinstance(state, PortfolioState):
            raise StateError(f"state must be a PortfolioState, was {type(state).__name__}")
        pairs = [
            (name, getattr(self._rows, name), getattr(state.rows, name))
            for name in PortfolioRows._fields
        ]
        for name, ours, theirs in pairs:
            if ours.shape != theirs.shape:
                raise StateError(
                    f"state.rows.{name} must be of shape {ours.shape}, as here, "
                    f"was of {theirs.shape} (other steps, lookback or assets?)"
                )
        for _, ours, theirs in pairs:
            ours[...] = theirs
        self.np_random.bit_generator.state = state.random_state

    # -- checks -------------------------------------------------------------------------------

    def _began(self) -> bool:
        return bool(self._rows.step[0] > 0 or not self._rows.over[0])

    def _refuse_no_episode(self, wanted: str) -> None:
        if not self._began():
            raise ResetNeeded(f"{wanted} needs an episode: call reset first")

    def _checked_options(self, options: dict[str, Any] | None) -> tuple[int | None, int | None]:
        given = mapping("options", options)
        refuse_unknown("options", given, _OPTIONS)
        if "state" in given and len(given) > 1:
            raise ConfigError(f"options: give state alone, were {', '.join(given)}")
        start, index = given.get("start"), given.get("path")
        if start is not None:
            start = integer("options.start", _plain(start), 0, self.source.bars - self.steps)
        if index is not None:
            if not self.source.stored:
                raise ConfigError(f"options.path must not be given for drawn paths, was {index!r}")
            index = integer("options.path", _plain(index), 0, self.source.stored - 1)
        return start, index


class PortfolioVectorEnv(NativeVectorEnv):
    """``num_envs`` portfolios, stepped in one call; equal to a SyncVectorEnv of singles.

    Parameters
    ----------
    num_envs : rows
    autoreset_mode : see ``NativeVectorEnv``
    kwargs : those of ``PortfolioEnv``; all rows share one source of paths
    """

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        **kwargs: Any,
    ) -> None:
        integer("num_envs", num_envs, 1)
        first = PortfolioEnv(**kwargs)
        kwargs["returns"] = first.source
        envs = [first, *(PortfolioEnv(**kwargs) for _ in range(num_envs - 1))]
        super().__init__(envs, autoreset_mode)
        assets = len(first.source.names)
        self._portfolios = envs
        self._share_rows(PortfolioRows.empty(num_envs, first.steps, first.lookback, assets))
        self._cost, self._ruin = first.cost, first.ruin

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._share_rows(self._rows)  # a copy's own memory

    def _share_rows(self, rows: PortfolioRows) -> None:
        """Let each sub-environment work in its row."""
        self._rows = rows
        for row, env in enumerate(self._portfolios):
            env._rows = rows.row(row)

    def _step_envs(self, actions: Any, active: Mask) -> Step:
        checked = box_actions(self.single_action_space, actions, active).astype(np.float64)
        return _step(self._rows, checked, active, self._cost, self._ruin)


def _step(
    rows: PortfolioRows, actions: NDArray[np.float64], active: Mask, cost: float, ruin: float
) -> Step:
    """Step the active rows; ``actions`` float64[n, assets]."""
    wrong, observations, rewards, terminated, truncated, steps, wealth, turnover, paid, growth = (
        step_rows(*rows, actions, active, cost, ruin)
    )
    if wrong >= 0:
        raise ResetNeeded(f"row {wrong} has no episode: call reset before step")
    infos = {
        "step": steps,
        "wealth": wealth,
        "turnover": turnover,
        "cost": paid,
        "growth": growth,
    }
    return observations, rewards, terminated, truncated, infos


def _plain(value: Any) -> Any:
    """Return numpy's integers as Python's."""
    return int(value) if isinstance(value, np.integer) else value
