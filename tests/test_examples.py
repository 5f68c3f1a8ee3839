"""Every example runs, and prints what its golden file says.

After a change that is meant: ``MARKETSIM_UPDATE_GOLDEN=1 pytest tests/test_examples.py``.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
#: Those that train have tests of their own, in test_env_examples.py.
TRAIN = {"cleanrl_ppo", "ppo_execution", "ppo_market_making", "ppo_training", "rllib_ppo"}
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.stem not in TRAIN)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_its_golden_output(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(example)], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    golden = GOLDEN / f"{example.stem}.txt"
    if os.environ.get("MARKETSIM_UPDATE_GOLDEN"):
        golden.write_text(done.stdout, encoding="utf-8")
    assert done.stdout == golden.read_text(encoding="utf-8")


def test_there_is_a_golden_file_for_each_example_and_no_other() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {path.stem for path in EXAMPLES}
