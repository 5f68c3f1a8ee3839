"""Compilation: what is compiled, where the result is kept, and when a kept result is stale.

numba's own cache looks at one file only, so an edit in a helper of another file would go unnoticed
and old machine code would run. Ours keys every entry point on a hash of all compiled sources, and
lives in the user's cache folder, never beside the package.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core import caching, codegen, types
from numba.core.ccallback import CFunc

#: Compiled code checks slots against capacities when ``NUMBA_BOUNDSCHECK=1``.
BOUNDSCHECK = bool(numba.config.BOUNDSCHECK)

#: Sources of constants that compiled code is made with.
_CODES = ("bins.py", "codes.py", "compile.py", "flow.py", "order_events.py", "records.py")
_said_why: list[str] = []


def cache_folder() -> Path:
    """Folder of compiled code: ``MARKETSIM_CACHE_DIR``, or ``marketsim`` in the user's cache."""
    given = os.environ.get("MARKETSIM_CACHE_DIR")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "marketsim"


@functools.lru_cache(maxsize=1)
def source_stamp() -> str:
    """Hash of every compiled source of the package, of numba, of Python and of the checks."""
    root = Path(__file__).parent
    digest = hashlib.sha256(f"{numba.__version__} {sys.version} {BOUNDSCHECK}".encode())
    for file in sorted(root.glob("*.py")) + sorted(root.glob("*/*.py")):
        content = file.read_bytes()
        if b"marketsim.compile" in content or file.name in _CODES:
            digest.update(str(file.relative_to(root)).encode() + b"\0" + content)
    return digest.hexdigest()


class _Locator(caching._CacheLocator):  # type: ignore[misc]
    """Tells numba where a function's machine code is kept and what makes it stale."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._file = Path(file)
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(cache_folder() / source_stamp()[:16])

    def get_source_stamp(self) -> str:
        """Package stamp and the function's own file, which need not be ours."""
        own = self._file.read_bytes() if self._file.exists() else b""
        return source_stamp() + hashlib.sha256(own).hexdigest()

    def get_disambiguator(self) -> str:
        return f"{hashlib.sha256(str(self._file).encode()).hexdigest()[:10]}-{self._line}"

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> "_Locator":
        return cls(function, file)


class _Impl(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = [_Locator]


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    """numba's cache with our locator; says why the first start takes its time."""

    _impl_class = _Impl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            found = super().load_overload(sig, target_context)
        except (OSError, EOFError, ValueError, LookupError, AttributeError, pickle.PickleError):
            found = None  # damaged or out of reach: start afresh
            with contextlib.suppress(OSError):
                self.flush()
        if found is None and not _said_why:
            _said_why.append("compiling")
            print(
                "marketsim: compiling the engine for this machine, once after each install or"
                " upgrade (some 20 s; `marketsim warmup` does it ahead)",
                file=sys.stderr,
                flush=True,
            )
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            if "unwritable" not in _said_why:
                _said_why.append("unwritable")
                print(
                    f"marketsim: compiled code cannot be kept in {cache_folder()}"
                    f" ({error.strerror}); set MARKETSIM_CACHE_DIR to a folder that can be written",
                    file=sys.stderr,
                )


def entry(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls: cached on disk, releases the interpreter lock."""
    dispatcher = numba.njit(nogil=True)(function)
    dispatcher._cache = _Cache(function)
    return dispatcher


@functools.cache
def direct(dispatcher: Any, arguments: int) -> Callable[..., Any]:
    """Machine code of an entry point that takes integers only, called without numba's dispatch.

    A call costs half as much. The caller answers for the arguments: a float would be truncated.
    """
    signature = (types.int64,) * arguments
    dispatcher.compile(signature)
    code: Callable[..., Any] = dispatcher.overloads[signature].entry_point
    return code


def native_address(dispatcher: Any, arguments: int) -> int:
    """Address of the machine code of an entry point that takes integers only.

    Compiled code calls it with :func:`marketsim.market.call_native`, so that the entry point's code
    is not compiled once more into its caller.
    """
    signature = (types.int64,) * arguments
    dispatcher.compile(signature)
    result = dispatcher.overloads[signature]
    address: int = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
    return address


def helper(function: Callable[..., Any]) -> Any:
    """Compile a function that only compiled code calls: no wrapper, part of its callers' cache.

    Integers and booleans of any width and literals arrive as int64, so that each helper is compiled
    once and not once for every combination of argument types.
    """
    return _internal(function, forceinline=False)


def hot(function: Callable[..., Any]) -> Any:
    """A :func:`helper` that is always inlined: for the few lines that every event runs through."""
    return _internal(function, forceinline=True)


def arithmetic(function: Callable[..., Any]) -> Any:
    """A :func:`helper` that may fuse a product and a sum; sums keep their order."""
    return _internal(function, forceinline=False, fastmath={"contract"})


def _internal(function: Callable[..., Any], forceinline: bool, fastmath: Any = False) -> Any:
    dispatcher = numba.njit(
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        forceinline=forceinline,
        fastmath=fastmath,
    )(function)
    resolve, compile_ = dispatcher.get_call_template, dispatcher.compile

    def widened(arguments: Any, keywords: Any) -> Any:
        return resolve([_widen(argument) for argument in arguments], keywords)

    def compiled(signature: Any) -> Any:
        with _linked_only():
            return compile_(signature)

    dispatcher.get_call_template, dispatcher.compile = widened, compiled
    return dispatcher


_linking = [0]  # how many helpers are being compiled, one inside the other


@contextlib.contextmanager
def _linked_only() -> Iterator[None]:
    """What is compiled now is only ever linked into entry points.

    numba optimises and emits machine code for every function and once more for each of its callers.
    For functions that nobody calls but compiled code, the last time is enough: the first start
    takes half as long.
    """
    _linking[0] += 1
    try:
        yield
    finally:
        _linking[0] -= 1


def _patch_library() -> None:
    """Let libraries of helpers stop before optimisation and machine code."""
    library, engine = codegen.JITCodeLibrary, codegen.JITCPUCodegen
    optimize, finalize = library._optimize_final_module, library._finalize_final_module
    set_env = engine.set_env

    def optimize_unless_linked(self: Any) -> None:
        if not _linking[0]:
            optimize(self)

    def finalize_unless_linked(self: Any) -> None:
        if not _linking[0]:
            finalize(self)
            return
        self._finalize_dynamic_globals()
        self._finalized = True

    def set_env_unless_linked(self: Any, env_name: str, env: Any) -> None:
        if not _linking[0]:  # without machine code there is no place to put it
            set_env(self, env_name, env)

    engine.set_env = set_env_unless_linked
    library._optimize_final_module = optimize_unless_linked
    library._finalize_final_module = finalize_unless_linked


_patch_library()


def _widen(argument: Any) -> Any:
    plain = types.unliteral(argument)  # type: ignore[attr-defined]
    return types.int64 if isinstance(plain, types.Integer | types.Boolean) else plain


class Callback:
    """A function that the kernel calls by its address, such as an agent's wake-up.

    Compiled, or loaded from the cache, when the address is first asked for.
    """

    def __init__(self, function: Callable[..., Any], signature: Any) -> None:
        self._function, self._signature = function, signature
        self.__name__, self.__doc__ = function.__name__, function.__doc__

    @functools.cached_property
    def _compiled(self) -> Any:
        compiled: Any = CFunc(
            self._function, (self._signature.args, self._signature.return_type), {}, {}
        )
        compiled._cache = _Cache(self._function)
        compiled.compile()
        return compiled

    @property
    def address(self) -> int:
        """Address of the machine code in this process."""
        return int(self._compiled.address)


def callback(signature: Any) -> Callable[[Callable[..., Any]], Callback]:
    """Decorate a function of this signature so that compiled code can call it by address."""
    return lambda function: Callback(function, signature)
