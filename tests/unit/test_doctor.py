from pathlib import Path

import pytest

from skerry.cli import doctor
from skerry.cli.parts import Places


def where(tmp_path: Path, run: str = "run") -> Places:
    return Places(str(tmp_path / "root"), str(tmp_path / run), str(tmp_path / "docker.sock"))


def test_everything_that_matters_is_looked_at(tmp_path: Path) -> None:
    subjects = {finding.subject for finding in doctor.findings(where(tmp_path))}
    assert {
        "kernel",
        "python",
        "overlay",
        "erofs",
        "cgroups",
        "OCI runtime",
        "nft",
        "nf_tables",
        "ports",
        str(tmp_path / "root"),
    } <= subjects


def test_a_missing_runtime_is_a_problem_with_its_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {finding.subject: finding for finding in doctor.findings(where(tmp_path))}
    assert (found["OCI runtime"].level, found["OCI runtime"].mend) == ("problem", "apt-get install crun")
    assert found["nft"].level == "problem"


def test_a_run_directory_too_long_for_sockets_is_a_problem(tmp_path: Path) -> None:
    found = [finding for finding in doctor.findings(where(tmp_path, "x" * 100)) if finding.level == "problem"]
    assert any("107" in finding.meaning for finding in found)
