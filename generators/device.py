"""The causal model on any device of torch: one pass of the trunk a new event, for many markets.

Equal to the compiled one (:mod:`marketsim.generators.inference`) but for rounding. Keys and values
of all markets lie in one tensor on the device; what is decided in whole numbers, from an order's
symbols to its price, stays in compiled code.
"""

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from marketsim.errors import ConfigError, ModelError
from marketsim.flow import Flow
from marketsim.generators.causal import frequencies
from marketsim.generators.inference import POSITION, encode_tokens
from marketsim.generators.orders import FEATURES, Vocabulary

_FIRST = 8  # slots that there are at first


def usable_device(device: str) -> torch.device:
    """A device of torch, after a computation on it.

    Raises
    ------
    ConfigError
        If torch does not know it, or cannot compute on it here.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).strip().split("\n")[0]
        raise ConfigError(
            f"device must be one that torch can compute on here, was {device!r}: {why}"
        ) from error
    return found


class Caches:
    """Keys and values of all markets on a device, a slot each; their number doubles as needed.

    Attributes
    ----------
    rings : float32 (layers, 2, slots, heads, window, width / heads), keys and values; the token at
        position p is at ``p % window``.
    hidden : float32 (slots, width), hidden states of the last tokens.
    """

    def __init__(self, shape: tuple[int, int, int, int], device: torch.device) -> None:
        layers, self._width, heads, window = shape
        self._shape = (layers, 2, 0, heads, window, self._width // heads)
        self.device = device
        self._free: list[int] = []
        with torch.inference_mode():
            self.rings = torch.zeros(self._shape, device=device)
            self.hidden = torch.zeros((0, self._width), device=device)

    @torch.inference_mode()
    def take(self) -> int:
        """A slot of zeros, the first that is free."""
        if not self._free:
            self._grow()
        slot = min(self._free)
        self._free.remove(slot)
        self.rings[:, :, slot] = 0
        self.hidden[slot] = 0
        return slot

    def release(self, slot: int) -> None:
        """Take a slot back."""
        self._free.append(slot)

    def _grow(self) -> None:
        had = len(self.hidden)
        slots = max(2 * had, _FIRST)
        layers, two, _, *ring = self._shape
        try:
            rings = torch.zeros((layers, two, slots, *ring), device=self.device)
            hidden = torch.zeros((slots, self._width), device=self.device)
        except torch.OutOfMemoryError as error:
            each_mb = layers * two * ring[1] * self._width * 4 / 1e6
            raise ModelError(
                f"device {str(self.device)!r} must have room for {slots} markets of {each_mb:.1f}"
                f" MB beside the {had} that it has: {error}"
            ) from error
        rings[:, :, :had], hidden[:had] = self.rings, self.hidden
        self.rings, self.hidden = rings, hidden
        self._free += range(had, slots)

    @torch.inference_mode()
    def copy(self, source: int, target: int) -> None:
        """Make a slot equal to another."""
        self.rings[:, :, target] = self.rings[:, :, source]
        self.hidden[target] = self.hidden[source]

    @torch.inference_mode()
    def floats(self, slot: int) -> NDArray[np.float32]:
        """What is in a slot, as compiled code has it; float32[state_floats]."""
        ring = self.rings[:, :, slot].cpu().numpy()  # (layers, 2, heads, window, size)
        keys = ring[:, 0].transpose(0, 1, 3, 2)
        values = ring[:, 1].transpose(0, 2, 1, 3)
        parts = np.stack([keys.reshape(len(ring), -1), values.reshape(len(ring), -1)], 1)
        return np.concatenate([parts.ravel(), self.hidden[slot].cpu().numpy()])

    @torch.inference_mode()
    def put(self, slot: int, floats: NDArray[np.float32]) -> None:
        """Fill a slot; the inverse of :meth:`floats`."""
        layers, _, _, heads, window, size = self._shape
        parts = floats[: -self._width].reshape(layers, 2, -1)
        keys = parts[:, 0].reshape(layers, heads, size, window).transpose(0, 1, 3, 2)
        values = parts[:, 1].reshape(layers, window, heads, size).transpose(0, 2, 1, 3)
        self.rings[:, :, slot] = torch.from_numpy(np.stack([keys, values], 1)).to(self.device)
        self.hidden[slot] = torch.from_numpy(floats[-self._width :].copy()).to(self.device)


class DeviceState:
    """What a causal model keeps of a market, keys and values in a slot on the device.

    A copy has a slot of its own; when a state goes, its slot is free again.
    """

    __slots__ = ("__weakref__", "caches", "ints", "pending", "slot")

    def __init__(self, caches: Caches, ints: NDArray[np.int64], pending: Flow) -> None:
        self.caches, self.ints, self.pending = caches, ints, pending
        self.slot = caches.take()
        weakref.finalize(self, caches.release, self.slot).atexit = False

    @property
    def floats(self) -> NDArray[np.float32]:
        """Keys and values of each layer and the last hidden state, as compiled code has them."""
        return self.caches.floats(self.slot)

    def __deepcopy__(self, memo: dict[int, Any]) -> "DeviceState":
        twin = DeviceState(self.caches, self.ints.copy(), self.pending.copy())
        self.caches.copy(self.slot, twin.slot)
        return twin


class DeviceModel:
    """A causal network on a device, and the markets that it reads.

    Parameters
    ----------
    network : with a ``trunk``; it is moved to the device.
    shape : (layers, width, heads, window).
    """

    def __init__(
        self, network: Any, shape: tuple[int, int, int, int], device: torch.device
    ) -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self.shape, self.device = shape, device
        self.caches = Caches(shape, device)
        self._radians = frequencies(network.trunk.size).numpy()

    def state(
        self, ints: NDArray[np.int64], floats: NDArray[np.float32] | None, pending: Flow
    ) -> DeviceState:
        """State of a market; ``floats`` as compiled code has them, None if it has read nothing."""
        state = DeviceState(self.caches, ints, pending)
        if floats is not None:
            self.caches.put(state.slot, floats)
        return state

    def there(self, array: NDArray[Any]) -> Tensor:
        """An array on the device."""
        return torch.from_numpy(array).to(self.device)

    def _slots(self, states: Sequence[DeviceState]) -> NDArray[np.int64]:
        for state in states:
            if getattr(state, "caches", None) is not self.caches:
                raise ModelError(
                    f"state must be one of this model on device {str(self.device)!r}, was"
                    f" another's: pack it there and unpack it here"
                )
        return np.array([state.slot for state in states], np.int64)

    def hidden(self, states: Sequence[DeviceState]) -> Tensor:
        """Hidden states of the last tokens, (rows, width)."""
        return self.caches.hidden[self.there(self._slots(states))]

    @torch.inference_mode()
    def observe(
        self,
        states: Sequence[DeviceState],
        flow: Flow,
        starts: NDArray[np.int64],
        books: NDArray[np.int64],
        ints: NDArray[np.int64],
        v: Vocabulary,
    ) -> None:
        """Let states read the events that are new to them.

        A market that has read nothing reads all of its events at once, the others the first of
        theirs together, then the second.

        flow, starts, books : as for :func:`marketsim.generators.inference.observe`.
        ints : int64[rows, STATE_INTS], the states' whole numbers, which move on.
        """
        slots, positions, counts = self._slots(states), ints[:, POSITION].copy(), np.diff(starts)
        symbols = np.empty((len(flow), 4), np.int64)
        features = np.empty((len(flow), FEATURES), np.float32)
        encode_tokens(
            flow, starts, books, ints, v.unit_ticks, v.depth_edges, v.size_edges, v.offset_edges,
            v.mean, v.deviation, symbols, features,
        )  # fmt: skip
        fresh = (positions == 0) & (counts <= self.shape[3])
        for i in np.flatnonzero(fresh & (counts > 1)).tolist():
            events = np.arange(starts[i], starts[i + 1])[None]
            self._read(slots[i : i + 1], positions[i : i + 1], symbols[events], features[events])
            counts[i] = 0
        for turn in range(counts.max()):
            rows = np.flatnonzero(counts > turn)
            events = (starts[rows] + turn)[:, None]
            self._read(slots[rows], positions[rows] + turn, symbols[events], features[events])

    def _read(
        self,
        slots: NDArray[np.int64],
        positions: NDArray[np.int64],
        symbols: NDArray[np.int64],
        features: NDArray[np.float32],
    ) -> None:
        """Read one new token of each of some markets, or the first tokens of new ones.

        slots, positions : int64[rows], how many tokens each has read.
        symbols : int64[rows, events, 4]; features : float32[rows, events, FEATURES].
        """
        trunk, rings = self.network.trunk, self.caches.rings
        events, window = symbols.shape[1], self.shape[3]
        places = positions[:, None] + np.arange(events)  # (rows, events)
        angles = places[:, None, :, None] * self._radians  # (rows, 1, events, pairs)
        cos = self.there(np.cos(angles).astype(np.float32))
        sin = self.there(np.sin(angles).astype(np.float32))
        mask = None
        if events == 1 and positions.min() + 1 < window:
            mask = self.there(np.arange(window) <= positions[:, None])[:, None, None]
        at, place = self.there(slots)[:, None], self.there(places % window)
        shared = self._together(slots)
        x = trunk.features_out(F.silu(trunk.features_in(self.there(features))))
        x = x + trunk.embed(self.there(symbols))  # (rows, events, width)
        for block, (keys, values) in zip(trunk.blocks, rings, strict=True):
            q, k, v = block.project(x, cos, sin)  # (rows, heads, events, size)
            keys[at, :, place], values[at, :, place] = k.transpose(1, 2), v.transpose(1, 2)
            if events > 1:
                mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            else:
                seen = keys[shared], values[shared]  # each (rows, heads, window, size)
                mixed = F.scaled_dot_product_attention(q, *seen, attn_mask=mask)
            x = block.finish(x, mixed)
        self.caches.hidden[at[:, 0]] = trunk.norm(x[:, -1])

    def _together(self, slots: NDArray[np.int64]) -> slice | Tensor:
        """Index of slots: of neighbours in order a slice, which copies nothing."""
        first = int(slots[0])
        if (slots == np.arange(first, first + len(slots))).all():
            return slice(first, first + len(slots))
        return self.there(slots)
