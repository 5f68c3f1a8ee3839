"""How large a causal model is: known without the library that trains it."""

from dataclasses import asdict, dataclass

from marketsim import checks
from marketsim.errors import ConfigError


@dataclass(frozen=True)
class Size:
    """Width and depth of a causal model; ``window``: how many tokens a token sees, itself included.

    In training, ``dropout`` is the share of coordinates that are left out, and ``noise`` the share
    of events whose symbols are hidden and the deviation of what is added to the features: a day of
    orders is soon learned by heart.

    Compiled code takes 8 numbers of a token at a time, and 4 of a head.

    Raises
    ------
    ConfigError
        If a number is out of range, or the width no multiple of 8 and of 4 times the heads.
    """

    layers: int = 4
    width: int = 128
    heads: int = 4
    window: int = 256
    dropout: float = 0.1
    noise: float = 0.1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name not in ("dropout", "noise"):
                checks.integer(name, value, 1)
        for name in ("dropout", "noise"):
            if not 0 <= checks.number(name, getattr(self, name)) < 1:
                raise ConfigError(f"{name} must be from 0 to below 1, was {getattr(self, name)}")
        if self.width % 8 or self.width % (4 * self.heads):
            raise ConfigError(
                f"width must be a multiple of 8 and of 4 * heads, was {self.width} with"
                f" {self.heads} heads"
            )
