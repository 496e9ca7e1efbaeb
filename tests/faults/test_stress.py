"""Many clients at once, at random: every answer is right, and nothing is left or grows."""

import random

import pytest

from faults.stress import check, run

pytestmark = pytest.mark.root


@pytest.mark.timeout(240)
def test_clients_at_random_leave_nothing_and_no_service_grows() -> None:
    """The short form."""
    summary = run(8, 8, 40, random.randrange(10**6))
    print(summary)
    check(summary)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_hundred_containers_for_five_minutes_leave_nothing() -> None:
    summary = run(300, 8, 200, random.randrange(10**6))
    print(summary)
    check(summary)
    assert min(summary["done"].values()) >= 200
