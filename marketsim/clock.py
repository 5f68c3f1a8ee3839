"""Times of day and spans of time as text and as int64 nanoseconds."""

import re
from numbers import Integral

from marketsim.errors import ConfigError

NS_PER_SECOND = 1_000_000_000
NS_PER_MINUTE = 60 * NS_PER_SECOND
NS_PER_HOUR = 60 * NS_PER_MINUTE
NS_PER_DAY = 24 * NS_PER_HOUR

#: Longest count of nanoseconds: sums of two still fit into 64 bits.
MAX_NS = 1 << 62

_TIME = re.compile(r"(\d{1,2}):([0-5]\d)(?::([0-5]\d)(?:\.(\d{1,9}))?)?")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|ms|s|min|h)")
_NS_PER_UNIT = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": NS_PER_SECOND,
    "min": NS_PER_MINUTE,
    "h": NS_PER_HOUR,
}


def parse_time(value: str | int, field: str = "time") -> int:
    """Return a time of day in nanoseconds since midnight.

    Parameters
    ----------
    value
        ``"HH:MM"``, ``"HH:MM:SS"`` or ``"HH:MM:SS.fraction"`` up to ``"24:00"``, or a count of
        nanoseconds >= 0.
    field
        What the error names.

    Raises
    ------
    ConfigError
        When it is neither.
    """
    if isinstance(value, str):
        match = _TIME.fullmatch(value.strip())
        if match:
            hours, minutes, seconds, fraction = match.groups(default="0")
            whole_s = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
            time_ns = whole_s * NS_PER_SECOND + int(fraction.ljust(9, "0"))
            if time_ns <= NS_PER_DAY:
                return time_ns
    elif _is_count(value):
        return _within(int(value), value, field)
    raise ConfigError(
        f"{field} must be HH:MM[:SS[.fraction]] up to 24:00, or nanoseconds since midnight >= 0,"
        f" was {value!r}"
    )


def parse_span(value: str | int, field: str = "span") -> int:
    """Return a span of time in nanoseconds: ``"60s"``, ``"1.5 ms"``, ``"5min"``, or a count >= 0.

    Raises
    ------
    ConfigError
        When it is neither.
    """
    if isinstance(value, str):
        match = _SPAN.fullmatch(value.strip())
        if match:
            return _within(round(float(match[1]) * _NS_PER_UNIT[match[2]]), value, field)
    elif _is_count(value):
        return _within(int(value), value, field)
    raise ConfigError(
        f"{field} must be a number with ns, us, ms, s, min or h, such as '60s', or nanoseconds"
        f" >= 0, was {value!r}"
    )


def format_time(time_ns: int) -> str:
    """Return ``"HH:MM:SS.fff"``, milliseconds rounded down; hours go on after 24."""
    seconds, rest_ns = divmod(int(time_ns), NS_PER_SECOND)
    return (
        f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        f".{rest_ns // 1_000_000:03d}"
    )


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def _within(count_ns: int, value: object, field: str) -> int:
    if count_ns > MAX_NS:
        raise ConfigError(f"{field} must be <= 2**62 ns, was {value!r}")
    return count_ns
