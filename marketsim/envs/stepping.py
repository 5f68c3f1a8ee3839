"""One step of many learning agents in many markets, compiled: act, run the market, look."""

from marketsim.compile import entry
from marketsim.events import message_room
from marketsim.kernel import DONE, GROW, NO_ROOM, fetch_ahead
from marketsim.market import call_agent, call_native, header

#: Where a market stands in its step: its agents are to act; it is run; it is through.
TO_ACT, TO_RUN, THROUGH = 0, 1, 2
#: Most messages that one action sends.
ACTION_MESSAGES = 8


@entry
def step_market(advance, m, until_ns, budget, agent, act, observe, row):
    """One step of one agent in one market; ``act`` 0: it has acted already.

    Returns NO_ROOM when the block must grow before it can act, else what ``advance`` (called by its
    address) returned: when that is not DONE the caller serves the market and goes on with ``act``
    0. ``row`` is the address of the agent's row of numbers.
    """
    if act != 0:
        if not message_room(m, ACTION_MESSAGES):
            return NO_ROOM
        call_agent(act, m, agent, row)
    code = call_native(advance, m, until_ns, budget)
    if code == DONE:
        call_agent(observe, m, agent, row)
    return code


@entry
def step_markets(advance, blocks, learners, interval_ns, budget, until_ns, stages, codes):
    """Take every market whose stage is not THROUGH as far as it gets in its step.

    Parameters
    ----------
    advance : address of the kernel's ``advance``.
    blocks : int64[n], addresses of the markets.
    learners : int64[n, k, 4] – agent (-1: none), addresses of its ``act`` and ``observe`` and of
        its row of numbers.
    interval_ns, budget : length of a step; most events of one call of ``advance``.
    until_ns : int64[n], end of each market's step, written here.
    stages, codes : int64[n], where each market stands; what ``advance`` returned, when it is not
        through: the caller serves it and calls again.

    Returns how many markets are not through.
    """
    left = 0
    for i in range(len(blocks)):
        fetch_ahead(blocks, i)
        if stages[i] == THROUGH:
            continue
        m = blocks[i]
        k = learners.shape[1]
        if stages[i] == TO_ACT:
            if not message_room(m, k * ACTION_MESSAGES):
                codes[i] = GROW
                left += 1
                continue
            for j in range(k):
                if learners[i, j, 0] >= 0:
                    call_agent(learners[i, j, 1], m, learners[i, j, 0], learners[i, j, 3])
            stages[i] = TO_RUN
            until_ns[i] = header(m).now_ns + interval_ns
        codes[i] = call_native(advance, m, until_ns[i], budget)
        if codes[i] != DONE:
            left += 1
            continue
        for j in range(k):
            if learners[i, j, 0] >= 0:
                call_agent(learners[i, j, 2], m, learners[i, j, 0], learners[i, j, 3])
        stages[i] = THROUGH
    return left


@entry
def call_learner(address, m, agent, row):
    """Call one function ``(m, agent, row)`` of a task by its address."""
    return call_agent(address, m, agent, row)
