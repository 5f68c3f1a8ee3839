"""One step of many learning agents in many markets, compiled: act, run the market, look."""

from marketsim.account import account_of
from marketsim.compile import entry, helper
from marketsim.envs.learner import ACTION, OBSERVATION, REWARD, TERMINATED, TRUNCATED
from marketsim.events import message_room
from marketsim.kernel import DONE, GROW, NO_ROOM, fetch_ahead
from marketsim.market import agents, call_agent, call_native, header, prefetch
from marketsim.records import ACCOUNT, AGENT, WORD

#: Where a market stands in its step: its agents are to act; it is run; it is through.
TO_ACT, TO_RUN, THROUGH = 0, 1, 2
AGENT_SIZE, ACCOUNT_SIZE, WORD_SIZE = AGENT.itemsize, ACCOUNT.itemsize, WORD.itemsize
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


@helper
def fetch_agent(m, agent):
    """Bring a learner's record and account into the cache; the header is there already."""
    h = header(m)
    prefetch(m + h.agents_offset + agent * AGENT_SIZE, AGENT_SIZE)
    account = account_of(m, agent, 0)
    prefetch(m + h.accounts_offset + account * ACCOUNT_SIZE, ACCOUNT_SIZE)


@helper
def fetch_state(m, agent):
    """Bring a learner's state into the cache; its record is there already."""
    me = agents(m, agent)
    prefetch(m + header(m).words_offset + me.state * WORD_SIZE, me.state_size * WORD_SIZE)


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

    Returns how many markets are not through; -1, and nothing has happened, if one has no block.
    """
    for i in range(len(blocks)):
        if blocks[i] == 0:
            return -1
    left = 0
    for i in range(len(blocks)):
        fetch_ahead(blocks, i)
        if i + 2 < len(blocks) and learners[i + 2, 0, 0] >= 0:
            fetch_agent(blocks[i + 2], learners[i + 2, 0, 0])
        if i + 1 < len(blocks) and learners[i + 1, 0, 0] >= 0:
            fetch_state(blocks[i + 1], learners[i + 1, 0, 0])
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


@entry
def put_choices(choices, n, active, rows):
    """Write discrete actions into rows; returns the first active one outside 0 to n - 1, or -1."""
    for i in range(len(choices)):
        if active[i] and not 0 <= choices[i] < n:
            return i
        rows[i, ACTION] = choices[i]
    return -1


@entry
def collect(rows, active, observations, rewards, ends, told, whole):
    """Take what came of a step from the rows; returns how many active agents have come to an end.

    ``observations``: float32[n, k]; ``rewards``: float64[n]; ``ends``: bool[2, n], terminated and
    truncated; ``told`` and ``whole``: float64 and int64[m, n], the information in either kind.
    """
    ended = 0
    k = observations.shape[1]
    for i in range(len(rows)):
        rewards[i] = rows[i, REWARD]
        ends[0, i] = rows[i, TERMINATED] != 0.0
        ends[1, i] = rows[i, TRUNCATED] != 0.0
        if active[i] and (ends[0, i] or ends[1, i]):
            ended += 1
        for j in range(k):
            observations[i, j] = rows[i, OBSERVATION + j]
        for j in range(len(told)):
            value = rows[i, OBSERVATION + k + j]
            told[j, i] = value
            whole[j, i] = int(value)
    return ended
