"""Metrics as Prometheus reads them: names, escapes, cumulative buckets; wrong use is an error at once."""

import re

import pytest

from skerry.core import metrics
from skerry.core.metrics import Counter, Histogram

_SAMPLE = re.compile(r'^[a-z_]+(\{([a-z_]+="([^"\\\n]|\\.)*",?)+\})? -?[0-9.e+-]+$')


def samples(name: str) -> list[str]:
    return [line for line in metrics.text().splitlines() if line.startswith(name)]


def test_counters_by_label_values() -> None:
    counter = Counter("test_things", "Things.", ["kind", "name"])
    counter.labels("a", 'quo"te\\ and\nline').inc()
    counter.labels("a", 'quo"te\\ and\nline').inc(2)
    counter.labels("b", "").inc(0)
    assert samples("test_things") == [
        r'test_things_total{kind="a",name="quo\"te\\ and\nline"} 3.0',
        'test_things_total{kind="b",name=""} 0.0',
    ]
    assert "# TYPE test_things_total counter" in metrics.text() and "# HELP test_things_total Things." in metrics.text()


def test_a_counter_without_labels_is_there_from_the_start() -> None:
    counter = Counter("test_plain_total", "Plain.")
    assert samples("test_plain") == ["test_plain_total 0.0"]
    counter.inc(1.5)
    assert samples("test_plain") == ["test_plain_total 1.5"]


def test_buckets_are_cumulative_and_their_bounds_inclusive() -> None:
    histogram = Histogram("test_seconds", "Seconds.", ["method"], buckets=(0.1, 1))
    for value in (0.05, 0.1, 0.5, 7):
        histogram.labels("m").observe(value)
    assert samples("test_seconds") == [
        'test_seconds_bucket{method="m",le="0.1"} 2.0',
        'test_seconds_bucket{method="m",le="1.0"} 3.0',
        'test_seconds_bucket{method="m",le="+Inf"} 4.0',
        'test_seconds_count{method="m"} 4.0',
        'test_seconds_sum{method="m"} 7.65',
    ]


def test_every_line_is_a_comment_or_a_sample() -> None:
    text = metrics.text()
    assert text.endswith("\n")
    for line in text.splitlines():
        assert line.startswith("# ") or _SAMPLE.match(line), line
    assert {"process_resident_memory_bytes", "process_open_fds"} <= {line.split()[0] for line in text.splitlines()}


def test_wrong_use_is_refused() -> None:
    counter = Counter("test_wrong", "Wrong.", ["one"])
    with pytest.raises(ValueError, match="labels"):
        counter.labels()
    with pytest.raises(ValueError, match="grows"):
        counter.labels("x").inc(-1)
    with pytest.raises(ValueError, match="already"):
        Counter("test_wrong", "Wrong.", [])
