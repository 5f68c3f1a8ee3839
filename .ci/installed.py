"""Import every module from an installed wheel, outside of the checkout, and replay its own files.

Usage: python -I .ci/installed.py CHECKOUT
"""

import importlib
import pkgutil
import sys
from importlib.resources import files
from pathlib import Path

import marketsim

checkout = Path(sys.argv[1])
home = Path(marketsim.__file__).parent
assert "site-packages" in home.parts, f"not an installed package: {home}"

names = {module.name for module in pkgutil.walk_packages(marketsim.__path__, "marketsim.")}
for name in sorted(names):
    importlib.import_module(name)

sources = [
    *(file.relative_to(checkout) for file in (checkout / "marketsim").glob("*.py")),
    *(
        file.relative_to(checkout)
        for room in ("comparison", "data", "metrics")
        for file in (checkout / "marketsim" / room).glob("*.py")
    ),
    *(
        Path("marketsim") / file.relative_to(checkout)
        for room in ("agents", "configs", "generators")
        for file in (checkout / room).glob("*.py")
    ),
]
missing = {
    ".".join(source.with_suffix("").parts) for source in sources if source.stem != "__init__"
} - names
assert not missing, f"not in the wheel: {sorted(missing)}"
assert files("marketsim.data").joinpath("stream_1m.npz").is_file()
assert files("marketsim").joinpath("py.typed").is_file()
print(f"{len(names)} modules imported from {home}")
