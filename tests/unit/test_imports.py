"""The dependency rules hold, and a planted violation is seen."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PLANTS = [
    ("gateway/planted.py", "import skerry.images.planted_target\n", "services never import each other"),
    ("networks/planted.py", "import aiohttp\n", "aiohttp is for gateway, images and logs only"),
    ("core/planted.py", "import skerry.images.planted_target\n", "services above core above api"),
    ("containers/monitor/planted.py", "import msgspec\n", "what runs a container's process is standard library only"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = os.path.join(os.path.dirname(sys.executable), "lint-imports")
    environ = {**os.environ, "PYTHONPATH": str(folder / "services")}
    return subprocess.run(
        [program, "--config", str(folder / "pyproject.toml"), "--no-cache"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(PROJECT / "services", folder / "services", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", folder)
    (folder / "services/skerry/images/planted_target.py").write_text("")
    return folder


def test_the_rules_hold(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("path", "text", "contract"), PLANTS, ids=[plant[0] for plant in PLANTS])
def test_a_planted_violation_is_seen(copy: Path, path: str, text: str, contract: str) -> None:
    planted = copy / "services/skerry" / path
    planted.write_text(text)
    try:
        result = lint(copy)
    finally:
        planted.unlink()
    assert result.returncode != 0
    broken = [line for line in result.stdout.splitlines() if line.endswith("BROKEN")]
    assert any(contract in line for line in broken), result.stdout
