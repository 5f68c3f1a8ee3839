"""Phases of a book, compiled: what begins and ends them, and who is told.

A phase begins by the schedule, by a message that was sent at the start; by a rule, at the end of
the event that made it so; or by the end of a halt, by a message that the halt sent ahead. The last
carries the number of its halt, and does nothing when the schedule has ended the halt before.
"""

from marketsim.codes import Feed, Phase, PhaseReason
from marketsim.compile import helper
from marketsim.crossing import publish_imbalance
from marketsim.events import EXCHANGE, Message, send, tell
from marketsim.market import (
    NO_PRICE,
    books,
    header,
    history,
    incidents,
    rules,
    steps,
    subscriptions,
)
from marketsim.market_data import PHASE_SIDE
from marketsim.rules import (
    CALL,
    HALT,
    IS_HALTED,
    RULES,
    SHUT,
    STOPPED,
    add_incident,
    at_limit,
    reference_price,
    share_up,
)

OPENING_CALL, CONTINUOUS = int(Phase.OPENING_CALL), int(Phase.CONTINUOUS)
CLOSING_CALL = int(Phase.CLOSING_CALL)
BREAK, CLOSED = int(Phase.BREAK), int(Phase.CLOSED)
SCHEDULE, BREAKER = int(PhaseReason.SCHEDULE), int(PhaseReason.CIRCUIT_BREAKER)
LIMIT_STATE, RECORDED = int(PhaseReason.PRICE_LIMIT), int(PhaseReason.RECORDED)
SESSION = int(Feed.SESSION)
TELL_SESSION = int(Message.SESSION)
PHASE, LIMIT = int(Message.PHASE), int(Message.LIMIT)


@helper
def announce(m, b, phase, reason, end_ns):
    """Show a phase to everybody: the undo log for those who look, the feed for those who listen."""
    h = header(m)
    rule = rules(m, b)
    if phase == rule.shown:
        return
    if h.horizon_ns > 0:
        entry = history(m, h.history_count & (h.history_capacity - 1))
        h.history_count += 1
        entry.time_ns = h.now_ns
        entry.symbol = b
        entry.side = PHASE_SIDE
        entry.price_ticks = rule.shown
        entry.old_lots = 0
    rule.shown = phase
    for i in range(h.subscriptions_count):
        subscription = subscriptions(m, i)
        if subscription.feed == SESSION and subscription.symbol == b:
            tell(m, TELL_SESSION, subscription.agent, b, 0, 0, 0, 0, phase, reason, end_ns, 0)


@helper
def begin_phase(m, b, phase, reason, end_ns):
    """Let a phase begin; the auction that ends the one before is over."""
    h = header(m)
    book = books(m, b)
    rule = rules(m, b)
    if rule.halt_row > 0 and phase != HALT and not book.state & STOPPED:
        incidents(m, rule.halt_row - 1).end_ns = h.now_ns
        rule.halt_row = 0
    rule.generation += 1
    rule.limit_since_ns = -1
    rule.end_ns = end_ns
    book.state &= ~SHUT
    if phase == BREAK or phase == CLOSED:
        book.state |= SHUT
    elif book.state & STOPPED:
        phase = HALT
    if not book.state & STOPPED:
        book.state &= ~CALL
        if phase == OPENING_CALL or phase == CLOSING_CALL or phase == HALT:
            book.state |= CALL
    rule.phase = phase
    if not book.state & IS_HALTED or phase == CLOSED:
        announce(m, b, phase, reason, end_ns)


@helper
def begin_halt(m, b, reason, length_ns):
    """Stop trading for a time, or until the close when it is negative."""
    h = header(m)
    rule = rules(m, b)
    rule.halt_row = add_incident(m, b, reason, books(m, b).last_ticks, 0) + 1
    if length_ns < 0:
        books(m, b).state |= STOPPED | CALL
        begin_phase(m, b, HALT, reason, h.close_ns)
        incidents(m, rule.halt_row - 1).end_ns = h.close_ns
        return
    end_ns = h.now_ns + length_ns
    begin_phase(m, b, HALT, reason, min(end_ns, rule.period_end_ns))
    number = rule.generation
    send(m, end_ns, PHASE, EXCHANGE, EXCHANGE, b, 0, 0, 0, 0, CONTINUOUS, number, 0, 0)


@helper
def recorded_halt(m, b, halted):
    """Recorded flow stops trading, or lets it go on."""
    book = books(m, b)
    rule = rules(m, b)
    if halted:
        book.state |= IS_HALTED
        announce(m, b, HALT, RECORDED, 0)
    else:
        book.state &= ~IS_HALTED
        announce(m, b, rule.phase, RECORDED, rule.end_ns)


@helper
def breaker_reached(m, b, share):
    """Whether a trade of this event moved the price by a share of the reference."""
    rule = rules(m, b)
    reference = reference_price(m, b, rule.breaker_reference, rule.breaker_ticks)
    if reference == NO_PRICE:
        return False
    move = share_up(reference, share)
    fell = rule.breaker_down and rule.low_ticks <= reference - move
    return fell or (rule.breaker_up and rule.high_ticks >= reference + move)


@helper
def watch_breaker(m, b):
    """Halt by the highest level of the circuit breaker that is reached; those below are spent."""
    rule = rules(m, b)
    level = rule.breaker_done
    while level < rule.breaker_count:
        if not breaker_reached(m, b, steps(m, rule.breaker_start + level).threshold):
            break
        level += 1
    if level > rule.breaker_done:
        rule.breaker_done = level
        begin_halt(m, b, BREAKER, steps(m, rule.breaker_start + level - 1).value)


@helper
def watch_limit(m, b):
    """Begin or end a limit state; its message comes when it has lasted long enough."""
    h = header(m)
    rule = rules(m, b)
    if not at_limit(m, b):
        rule.limit_since_ns = -1
    elif rule.limit_since_ns < 0:
        rule.limit_since_ns = h.now_ns
        rule.limit_timer += 1
        end_ns = h.now_ns + rule.limit_state_ns
        send(m, end_ns, LIMIT, EXCHANGE, EXCHANGE, b, 0, 0, 0, 0, 0, rule.limit_timer, 0, 0)


@helper
def after_rules(m, b):
    """What rules make of an event: a halt, a limit state, what the auction would do now."""
    book = books(m, b)
    rule = rules(m, b)
    if book.state & RULES and not book.state & (CALL | SHUT):
        if rule.traded and rule.breaker_reference != 0:
            watch_breaker(m, b)
        if rule.pause_ns > 0 and not book.state & CALL:
            watch_limit(m, b)
    rule.traded = 0
    if book.state & CALL and not book.state & (SHUT | STOPPED):
        publish_imbalance(m, b)
