"""The pace, by a clock of our own."""

from imagekit.publish.aws.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_departures_keep_the_quota() -> None:
    clock = Clock()
    pace = Pace(100, clock)
    for _ in range(1000):
        clock.now += pace.delay()
    assert 9.9 < clock.now - 100 < 10.1


def test_a_pause_is_not_made_up_for_by_a_burst() -> None:
    clock = Clock()
    pace = Pace(100, clock)
    clock.now += 60
    assert sum(pace.delay() == 0 for _ in range(100)) <= 7


def test_slower_once_for_many_and_faster_again() -> None:
    clock = Clock()
    pace = Pace(100, clock)
    clock.now += 1
    for _ in range(64):
        pace.slower()
    assert pace.rate == 50
    clock.now += 0.9
    pace.delay()
    assert pace.rate == 50
    for _ in range(100):
        clock.now += 0.1
        pace.delay()
    assert pace.rate == 100


def test_there_is_a_slowest() -> None:
    clock = Clock()
    pace = Pace(100, clock)
    for _ in range(64):
        clock.now += 1
        pace.slower()
    assert pace.rate >= 1
