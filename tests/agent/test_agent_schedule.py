"""When to look at what, on a clock made of numbers: a farm of scripted hosts played through the schedule."""

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.schedule import Lane, Schedule, Turn, jitter_s, next_instant, offset_ratio
from agent.wire import Job
from fleet.readings import FaultKind

DEADLINE_S = 5.0


def job(key: str, interval_s: float = 30.0, host: str | None = None) -> Job:
    return Job(key, "antminer", key if host is None else host, 4028, interval_s, DEADLINE_S)


Behaviour = Callable[[Job, float], tuple[float, FaultKind | None]]
"""How long a look at this instant takes, and what it ends in (None = an answer)."""


def healthy(_: Job, __: float) -> tuple[float, FaultKind | None]:
    return 0.02, None


def hung(_: Job, __: float) -> tuple[float, FaultKind | None]:
    return DEADLINE_S, FaultKind.TIMEOUT


def silent(_: Job, __: float) -> tuple[float, FaultKind | None]:
    return 2.0, FaultKind.UNREACHABLE


@dataclass
class Played:
    starts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    lags: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    most_in_flight: int = 0
    most_in_lane: Counter[Lane] = field(default_factory=Counter)


def play(schedule: Schedule, behave: Behaviour, until_s: float) -> Played:
    """Runs the schedule as the poller does: `due` at each due time and after each finish; lets the last looks end."""
    played = Played()
    order = itertools.count()
    running: list[tuple[float, int, Turn, FaultKind | None, Lane]] = []
    lanes: Counter[Lane] = Counter()
    while True:
        instants = [t for t in (schedule.next_due_s(), running[0][0] if running else None) if t is not None]
        if not instants or (now_s := min(instants)) > until_s:
            for end_s, _, turn, fault, _ in sorted(running):
                schedule.finished(turn, end_s, fault)
            return played
        while running and running[0][0] <= now_s:
            _, _, turn, fault, lane = heapq.heappop(running)
            lanes[lane] -= 1
            schedule.finished(turn, now_s, fault)
        for turn in schedule.due(now_s):
            takes_s, fault = behave(turn.job, now_s)
            heapq.heappush(running, (now_s + takes_s, next(order), turn, fault, turn.lane))
            lanes[turn.lane] += 1
            played.starts[turn.job.key].append(now_s)
            played.lags[turn.job.key].append(turn.lag_s)
        played.most_in_flight = max(played.most_in_flight, schedule.in_flight)
        assert schedule.in_flight == len(running)
        for lane in Lane:
            played.most_in_lane[lane] = max(played.most_in_lane[lane], lanes[lane])


def farm(count: int, interval_s: float = 30.0) -> list[Job]:
    return [job(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", interval_s) for n in range(count)]


def assigned(jobs: list[Job], max_in_flight: int = 400) -> Schedule:
    schedule = Schedule(max_in_flight)
    schedule.assign(jobs, 0.0)
    return schedule


def gaps(instants: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(instants)]


def quantile(values: list[float], ratio: float) -> float:
    return sorted(values)[min(len(values) - 1, int(ratio * len(values)))]


# --- offsets -----------------------------------------------------------------------------------------------------


def test_the_offset_is_crc32_and_so_the_same_in_every_process() -> None:
    assert offset_ratio("123456789") == 0xCBF43926 / 2**32  # the check value of CRC-32/ISO-HDLC


def test_instants_lie_on_a_grid_that_a_restart_does_not_move() -> None:
    machine = job("123456789")  # offset 0.79669 of 30 s = 23.9008 s
    assert next_instant(machine, 0.0) == pytest.approx(23.9008, abs=1e-3)
    assert next_instant(machine, 24.0) == pytest.approx(53.9008, abs=1e-3)
    assert next_instant(machine, 1e6) == pytest.approx(1_000_013.9008, abs=1e-3)  # 33333 intervals and the offset


def test_the_load_of_20000_machines_is_flat() -> None:
    played = play(assigned(farm(20_000), 4000), healthy, 90.0)
    per_second = Counter(int(start) for starts in played.starts.values() for start in starts if 60.0 <= start < 90.0)
    # 667 a second; six standard deviations of a Poisson count are 155.
    assert len(per_second) == 30
    assert max(per_second.values()) < 667 + 155
    assert min(per_second.values()) > 667 - 155


def test_every_machine_is_looked_at_once_per_interval() -> None:
    played = play(assigned(farm(1000)), healthy, 600.0)
    later_gaps = [gap for starts in played.starts.values() for gap in gaps(starts[1:])]
    assert len(later_gaps) >= 18 * 1000
    assert max(later_gaps) == pytest.approx(30.0)
    assert min(later_gaps) == pytest.approx(30.0)


def test_the_first_look_is_soon_and_the_second_joins_the_grid() -> None:
    schedule = assigned([job(f"feed {n}", interval_s=600.0) for n in range(5)])
    played = play(schedule, healthy, 1800.0)
    for starts in played.starts.values():
        assert starts[0] < 0.1  # five jobs at fifty a second
        assert 300.0 <= starts[1] - starts[0] <= 900.0


def test_many_first_looks_take_no_longer_than_one_interval() -> None:
    played = play(assigned(farm(20_000), 4000), healthy, 29.99)
    assert len(played.starts) > 19_900


# --- bounds ------------------------------------------------------------------------------------------------------


def test_one_look_per_host_at_a_time_whatever_the_number_of_jobs() -> None:
    schedule = assigned([job(f"part {n}", host="10.0.0.1") for n in range(8)])
    running: list[tuple[float, float]] = []

    def slow(_: Job, now_s: float) -> tuple[float, FaultKind | None]:
        running.append((now_s, now_s + 3.0))
        return 3.0, None

    played = play(schedule, slow, 300.0)
    assert all(earlier_end <= start for (_, earlier_end), (start, _) in itertools.pairwise(sorted(running)))
    assert {len(starts) >= 8 for starts in played.starts.values()} == {True}  # and none of them starves


def test_machines_behind_one_address_do_not_wait_for_each_other() -> None:
    schedule = assigned([replace(job(f"127.0.0.1:{port}", host="127.0.0.1"), port=port) for port in (20_000, 20_001)])
    assert len(schedule.due(30.0)) == 2


def test_jobs_without_a_host_do_not_wait_for_each_other() -> None:
    schedule = assigned([job("fixed", host=""), job("other", host="")])
    assert len(schedule.due(30.0)) == 2


def test_the_number_in_flight_is_bounded() -> None:
    played = play(assigned(farm(1000), max_in_flight=50), lambda _, __: (1.0, None), 120.0)
    assert played.most_in_flight == 50


# --- hosts that misbehave ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval_s", [10.0, 30.0])
def test_a_hung_host_is_looked_at_every_interval_while_there_is_room(interval_s: float) -> None:
    played = play(assigned([job("10.0.0.1", interval_s)]), hung, 50 * interval_s)
    steps = [round(gap / interval_s, 6) for gap in gaps(played.starts["10.0.0.1"])]
    assert set(steps[1:]) == {1}
    assert 0.5 <= steps[0] <= 1.5  # from the first look to the grid


def test_hung_hosts_that_wait_for_each_other_back_off() -> None:
    """1,000 of them at 5 s each every 30 s would need 167 slots, and have 100."""
    schedule = assigned(farm(1000))
    played = play(schedule, hung, 1800.0)
    assert schedule.dropped == 0  # without it half of all instants pass while their jobs wait
    steps = [round(gap / 30.0) for starts in played.starts.values() for gap in gaps(starts)[1:]]
    assert 2 <= sum(steps) / len(steps) <= 10
    assert max(gap for starts in played.starts.values() for gap in gaps(starts)) <= 300.0 + 30.0


def test_no_back_off_is_longer_than_five_minutes() -> None:
    feeds = [job(f"price{i}", interval_s=120.0) for i in range(40)] + [job("fees", interval_s=900.0)]
    played = play(assigned(feeds, max_in_flight=4), hung, 9000.0)  # one slot for all that hang
    assert max(gaps(played.starts["price0"])[1:]) <= 300.0 + 120.0
    assert max(gaps(played.starts["fees"])[1:]) <= 900.0 + 300.0


def test_an_answer_ends_the_back_off() -> None:
    def back_at_200(_: Job, now_s: float) -> tuple[float, FaultKind | None]:
        return (DEADLINE_S, FaultKind.TIMEOUT) if now_s < 200.0 else (0.02, None)

    starts = play(assigned([job("10.0.0.1")]), back_at_200, 900.0).starts["10.0.0.1"]
    answered = [start for start in starts if start >= 200.0]
    assert answered[0] <= 200.0 + 8 * 30.0
    assert len(answered) >= 15
    assert gaps(answered) == pytest.approx([30.0] * (len(answered) - 1))


@pytest.mark.parametrize("kind", [FaultKind.UNREACHABLE, FaultKind.REFUSED])
def test_a_silent_host_is_tried_every_interval_so_its_return_is_seen_within_one(kind: FaultKind) -> None:
    played = play(assigned([job("10.0.0.1")]), lambda _, __: (2.0, kind), 1000.0)
    assert gaps(played.starts["10.0.0.1"])[1:] == pytest.approx([30.0] * 32)  # all but the first of 1000 / 30


@pytest.mark.parametrize(
    "kind",
    [FaultKind.DENIED, FaultKind.MALFORMED, FaultKind.OVERSIZE, FaultKind.UNSUPPORTED, FaultKind.IDENTITY],
)
def test_every_other_fault_is_an_answer_and_changes_nothing(kind: FaultKind) -> None:
    played = play(assigned([job("10.0.0.1")]), lambda _, __: (0.02, kind), 400.0)
    assert max(gaps(played.starts["10.0.0.1"])[1:]) == pytest.approx(30.0)
    assert played.most_in_lane == Counter({Lane.HEALTHY: 1})


def share_of(bad: Behaviour, ratio: float) -> Behaviour:
    return lambda job, now_s: (bad if offset_ratio("share" + job.key) < ratio else healthy)(job, now_s)


def healthy_lags(played: Played, ratio: float) -> list[float]:
    return [lag for key, lags in played.lags.items() if offset_ratio("share" + key) >= ratio for lag in lags]


@pytest.mark.parametrize("bad", [hung, silent])
def test_with_30_per_cent_bad_hosts_the_healthy_are_looked_at_as_without_them(bad: Behaviour) -> None:
    control = play(assigned(farm(1000)), healthy, 600.0)
    faulty = play(assigned(farm(1000)), share_of(bad, 0.3), 600.0)
    p999_s = quantile(healthy_lags(faulty, 0.3), 0.999)
    assert p999_s <= quantile(healthy_lags(control, 0.3), 0.999) + 1e-6
    for key, starts in faulty.starts.items():
        if offset_ratio("share" + key) >= 0.3:
            assert starts == control.starts[key]


@pytest.mark.parametrize(("bad", "lane", "share"), [(hung, Lane.HUNG, 0.25), (silent, Lane.SILENT, 0.5)])
def test_bad_hosts_hold_no_more_than_their_share(bad: Behaviour, lane: Lane, share: float) -> None:
    played = play(assigned(farm(1000), max_in_flight=40), share_of(bad, 0.6), 900.0)
    assert played.most_in_lane[lane] == 40 * share
    settled = [
        lag
        for key, starts in played.starts.items()
        if offset_ratio("share" + key) >= 0.6
        for start, lag in zip(starts, played.lags[key], strict=True)
        if start > 300.0
    ]
    assert max(settled) == 0.0


def test_with_all_hosts_hung_everyone_keeps_being_tried() -> None:
    schedule = assigned(farm(1000))
    played = play(schedule, hung, 3000.0)
    assert played.most_in_flight <= 400
    last = [starts[-1] for starts in played.starts.values()]
    assert len(last) == 1000
    assert min(last) > 3000.0 - 2 * 300.0


def test_a_shared_switch_that_returns_is_seen_within_one_interval() -> None:
    def back_at_1000(_: Job, now_s: float) -> tuple[float, FaultKind | None]:
        return (2.0, FaultKind.UNREACHABLE) if now_s < 1000.0 else (0.02, None)

    played = play(assigned(farm(1000)), back_at_1000, 1100.0)
    seen = [next(start for start in starts if start >= 1000.0) for starts in played.starts.values()]
    assert len(seen) == 1000
    assert max(seen) <= 1030.0


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_whatever_hosts_do_the_bounds_hold_and_nobody_is_forgotten(data: st.DataObject) -> None:
    faults = st.sampled_from([None, None, *FaultKind])
    script = data.draw(st.lists(st.tuples(st.floats(0.001, 40.0), faults), min_size=1, max_size=12))
    slots = data.draw(st.integers(1, 12))
    jobs = [
        job(f"m{n}", interval_s=data.draw(st.sampled_from([5.0, 30.0, 60.0])), host=f"10.0.0.{n % 7}")
        for n in range(10)
    ]
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    steps = itertools.cycle(script)

    def scripted(job: Job, now_s: float) -> tuple[float, FaultKind | None]:
        takes_s, fault = next(steps)
        spans[job.host].append((now_s, now_s + takes_s))
        return takes_s, fault

    # Ten looks of at most 40 s on one slot are 400 s; the longest back-off is 300 s.
    played = play(assigned(jobs, slots), scripted, 3000.0)
    assert played.most_in_flight <= slots
    for looks in spans.values():
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(looks))
    assert all(starts[-1] > 3000.0 - 1000.0 for starts in played.starts.values())
    assert len(played.starts) == 10
    assert all(lag < 60.0 for lags in played.lags.values() for lag in lags)


# --- lateness ----------------------------------------------------------------------------------------------------


def test_a_look_longer_than_its_interval_drops_instants_and_never_queues_them() -> None:
    schedule = assigned([job("10.0.0.1", interval_s=10.0)])
    played = play(schedule, lambda _, __: (25.0, None), 400.0)
    starts = played.starts["10.0.0.1"]
    assert gaps(starts)[1:] == pytest.approx([30.0] * (len(starts) - 2))  # the third instant after each start
    assert schedule.dropped == pytest.approx(2 * len(starts), abs=3)


def test_a_look_that_waited_is_late_and_counts_only_from_its_latest_instant() -> None:
    schedule = Schedule(max_in_flight=1)
    schedule.assign([job("a", 10.0), job("b", 10.0)], 0.0)
    (first,) = schedule.due(5.0)
    assert schedule.due(31.0) == []
    schedule.finished(first, 34.0, None)
    (second,) = schedule.due(34.0)
    assert second.job.key != first.job.key
    assert 3.0 < second.lag_s < 10.0  # not the 34 s since its first instant
    assert schedule.late == 2  # the other began late too, some five seconds after its first instant
    assert schedule.dropped >= 3


def test_lag_of_a_crowded_farm_stays_below_one_interval() -> None:
    # 100 machines of 1 s each on one slot and 30 s: three times too much.
    schedule = assigned(farm(100), max_in_flight=1)
    played = play(schedule, lambda _, __: (1.0, None), 1000.0)
    assert max(max(lags) for lags in played.lags.values()) < 30.0
    counts = [len(starts) for starts in played.starts.values()]
    assert min(counts) >= 8  # fair: everyone has its tenth of the thousand looks, none starves
    assert max(counts) <= 12
    assert schedule.dropped > 2000


# --- assignments -------------------------------------------------------------------------------------------------


def test_an_unchanged_job_keeps_its_place_and_its_past() -> None:
    jobs = farm(100)
    schedule = assigned(jobs)
    play(schedule, hung, 100.0)
    untouched = assigned(jobs)
    play(untouched, hung, 100.0)
    assert schedule.assign([*jobs, job("10.9.9.9")], 105.0) == []
    assert schedule.jobs == 101
    later, expected = play(schedule, hung, 900.0), play(untouched, hung, 900.0)
    assert {key: later.starts[key] for key in expected.starts} == dict(expected.starts)


def test_jobs_that_are_gone_or_changed_are_named_and_not_looked_at_again() -> None:
    kept, gone, changed = job("a"), job("b"), job("c")
    schedule = assigned([kept, gone, changed])
    now = replace(changed, port=4029)
    assert schedule.assign([kept, now], 1.0) == [gone, changed]
    played = play(schedule, healthy, 100.0)
    assert set(played.starts) == {"a", "c"}
    assert len(gaps(played.starts["c"])) == pytest.approx(3, abs=1)


def test_a_look_of_a_job_that_is_gone_still_holds_its_host() -> None:
    schedule = assigned([job("a", host="10.0.0.1")])
    (turn,) = schedule.due(30.0)
    schedule.assign([job("b", host="10.0.0.1")], 30.0)
    assert schedule.due(60.0) == []
    schedule.finished(turn, 61.0, None)
    assert [turn.job.key for turn in schedule.due(61.0)] == ["b"]
    assert schedule.jobs == 1


def test_the_oldest_look_is_known() -> None:
    schedule = assigned([job("a"), job("b")])
    assert schedule.oldest_s(10.0) == 0.0
    assert len(schedule.due(30.0)) == 2
    assert schedule.oldest_s(34.5) == pytest.approx(4.5)


# --- as a guest ------------------------------------------------------------------------------------------------------


def guest_looks(faults: list[tuple[FaultKind | None, float]], interval_s: float = 60.0) -> list[float]:
    """When a guest's looks start; each is over at once, with a fault and the wait that it asks for."""
    schedule = Schedule()
    schedule.assign([Job("kraken", "kraken", "k.example", 443, interval_s, 10.0, is_guest=True)], 0.0)
    starts = []
    for fault, wait_s in faults:
        now_s = schedule.next_due_s()
        assert now_s is not None
        (turn,) = schedule.due(now_s)
        starts.append(now_s)
        schedule.finished(turn, now_s, fault, wait_s)
    return starts


def test_looks_of_a_guest_are_spread_by_a_tenth_around_their_instants_and_none_is_lost() -> None:
    starts = guest_looks([(None, 0.0)] * 400)
    gaps = [b - a for a, b in itertools.pairwise(starts[1:])]
    assert all(48.0 <= gap <= 72.0 for gap in gaps)  # two instants, each 6 s off at most
    assert len({round(gap, 3) for gap in gaps}) > 100
    assert starts[-1] == pytest.approx(60.0 * 399, rel=0.01)


def test_a_guest_that_is_not_answered_comes_less_and_less_and_at_once_again_when_it_is() -> None:
    down = [(FaultKind.UNREACHABLE, 0.0)] * 8
    starts = guest_looks([(None, 0.0), *down, (None, 0.0), (None, 0.0), (None, 0.0)])
    gaps = [round((b - a) / 60.0) for a, b in itertools.pairwise(starts[1:])]
    assert gaps == [1, 2, 4, 8, 10, 10, 10, 10, 1, 1]  # ten minutes at most


@pytest.mark.parametrize("wait_s", [61.0, 3600.0, 86_400.0])
def test_a_guest_does_not_come_back_before_it_may(wait_s: float) -> None:
    for fault in (FaultKind.UNREACHABLE, None):
        starts = guest_looks([(None, 0.0), (fault, wait_s), (None, 0.0), (None, 0.0)])
        assert wait_s <= starts[2] - starts[1] <= wait_s + 67.0
        assert starts[3] - starts[2] < 73.0


def test_a_device_of_our_own_is_neither_spread_nor_given_time() -> None:
    assert {jitter_s(job("10.1.0.7"), looks) for looks in range(50)} == {0.0}
