"""The comparison of both engines: what it reads from a report and what it says."""

from tests.conformance.compare import Result, read, table

_REPORT = b"""<testsuites><testsuite>
<testcase classname="tests.conformance.test_run" name="test_a" time="1.5"/>
<testcase classname="tests.conformance.test_run" name="test_b" time="0.5"><failure message="x"/></testcase>
<testcase classname="tests.conformance.test_ps" name="test_c" time="0.1"><skipped/></testcase>
</testsuite></testsuites>"""


def test_a_report_is_read_by_file_and_case() -> None:
    assert read(_REPORT) == {
        ("test_run", "test_a"): Result(True, 1.5),
        ("test_run", "test_b"): Result(False, 0.5),
        ("test_ps", "test_c"): Result(False, 0.1),
    }


def test_what_passes_on_one_engine_only_is_named() -> None:
    skerry = read(_REPORT)
    dockerd = {**skerry, ("test_run", "test_a"): Result(False, 1), ("test_run", "test_b"): Result(True, 1)}
    lines = table({"dockerd": dockerd, "skerry": skerry})
    assert "| test_run | 2 | 1 | 1 | 2 | 2 |" in lines and "| all | 3 | 1 | 1 | 2 | 2 |" in lines
    assert lines[-2:] == ["passes on dockerd only: test_run::test_b", "passes on skerry only: test_run::test_a"]


def test_a_case_that_one_engine_never_ran_did_not_pass_there() -> None:
    assert table({"dockerd": {("f", "c"): Result(True, 1)}, "skerry": {}})[-1] == "passes on dockerd only: f::c"
