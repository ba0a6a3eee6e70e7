"""Compares the queueing model with exact results. Its seconds are simulated, and so the same on every machine."""

import math
import os
import random
import socket
import subprocess
from dataclasses import replace
from functools import partial

import pytest

from loadtests.benchmark.figures import percentile
from loadtests.model.__main__ import main
from loadtests.model.service import Cost, Deployment, Simulation
from loadtests.model.simulation import Clock, Slots, Station
from loadtests.model.workers import connected, holders, unevenness

JOBS = 60_000
CLOSE = 0.05
WORKER, DATABASE = 200e-6, 100e-6
ONE = Deployment(workers=1, mix=[Cost(1, WORKER, DATABASE)], spread=0, think_seconds=0, round_trip_seconds=0)


def responses(*, servers: int, rate: float, exponential: bool = True) -> list[float]:
    """The response times of a station whose jobs take 1 s on average, in ascending order."""
    clock = Clock()
    station = Station(clock, servers)
    draw = random.Random(7)
    found: list[float] = []

    def arrive() -> None:
        seconds = draw.expovariate(1) if exponential else 1
        station.serve(seconds, partial(lambda began: found.append(clock.now - began), clock.now))
        clock.after(draw.expovariate(rate), arrive)

    arrive()
    clock.run_while(lambda: len(found) < JOBS)
    return sorted(found)


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.7])
def test_one_server_is_m_m_1(rate: float) -> None:
    found = responses(servers=1, rate=rate)
    assert sum(found) / JOBS == pytest.approx(1 / (1 - rate), rel=CLOSE)
    assert percentile(found, 95) == pytest.approx(math.log(20) / (1 - rate), rel=CLOSE)


def test_jobs_of_one_length_wait_half_as_long() -> None:
    """This is M/D/1, by the formula of Pollaczek and Khinchine."""
    found = responses(servers=1, rate=0.7, exponential=False)
    assert sum(found) / JOBS == pytest.approx(1 + 0.7 / (2 * (1 - 0.7)), rel=CLOSE)


@pytest.mark.parametrize(("servers", "rate"), [(2, 1.4), (5, 4.0)])
def test_several_servers_are_m_m_c(servers: int, rate: float) -> None:
    busy = rate / servers
    all_busy = rate**servers / math.factorial(servers) / (1 - busy)
    wait = all_busy / (sum(rate**n / math.factorial(n) for n in range(servers)) + all_busy)  # Erlang C
    found = responses(servers=servers, rate=rate)
    assert sum(found) / JOBS == pytest.approx(1 + wait / (servers - rate), rel=CLOSE)


def test_a_station_on_busy_cores_waits_for_them() -> None:
    clock = Clock()
    cores = Station(clock, 1)
    done: list[tuple[str, float]] = []
    for name in ("first", "second"):
        Station(clock, 1, cores).serve(1, partial(lambda name: done.append((name, clock.now)), name))
    clock.run_while(lambda: len(done) < 2)
    assert done == [("first", 1.0), ("second", 2.0)]


def test_slots_are_given_in_the_order_of_asking() -> None:
    slots = Slots(Clock(), 1)
    got: list[int] = []
    for number in range(3):
        slots.acquire(partial(got.append, number))
    assert got == [0]
    slots.release()
    slots.release()
    assert got == [0, 1, 2]


def test_one_user_waits_for_nobody() -> None:
    found = Simulation(replace(ONE, users=1, round_trip_seconds=0.001)).run(requests=1000, warm_up=10)
    alone = WORKER + DATABASE + 0.001
    assert found.p50_seconds == pytest.approx(alone)
    assert found.p99_seconds == pytest.approx(alone)
    assert found.throughput == pytest.approx(1 / alone)


def test_many_users_get_what_the_worker_bears() -> None:
    """The asymptote of a closed queue is N / X at the bottleneck, and half of it with twice the workers."""
    for workers in (1, 2):
        found = Simulation(replace(ONE, users=100, workers=workers)).run(requests=20_000, warm_up=1000)
        assert found.throughput == pytest.approx(workers / WORKER, rel=0.01)
        assert found.p50_seconds == pytest.approx(100 * WORKER / workers, rel=0.01)
        assert found.worker_use == pytest.approx(1, rel=0.01)


def test_users_who_think_are_bounded_by_their_number() -> None:
    found = Simulation(replace(ONE, users=100, think_seconds=0.1)).run(requests=20_000, warm_up=1000)
    assert found.throughput == pytest.approx(100 / (0.1 + found.p50_seconds), rel=CLOSE)


def test_busy_connections_follow_littles_law() -> None:
    hold = 0.02 + DATABASE + WORKER / 2
    found = Simulation(replace(ONE, rate=1000, pool_size=100, round_trip_seconds=0.02)).run(
        requests=20_000, warm_up=1000
    )
    assert found.throughput == pytest.approx(1000, rel=CLOSE)
    assert found.connections == pytest.approx(1000 * hold, rel=CLOSE)


def test_a_small_pool_is_the_bottleneck() -> None:
    hold = 0.02 + DATABASE + WORKER / 2
    found = Simulation(replace(ONE, users=100, pool_size=5, round_trip_seconds=0.02)).run(requests=5000, warm_up=500)
    assert found.throughput == pytest.approx(5 / hold, rel=CLOSE)


def test_the_database_can_be_the_bottleneck() -> None:
    found = Simulation(replace(ONE, users=100, workers=4, database_cores=1)).run(requests=10_000, warm_up=1000)
    assert found.throughput == pytest.approx(1 / DATABASE, rel=0.01)
    assert found.database_use == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("busiest", [1, 1.5, 3])
def test_the_busiest_worker_has_so_many_more_users(busiest: float) -> None:
    of = replace(ONE, users=400, workers=4, busiest=busiest)
    places = [Simulation(of)._place(user) for user in range(of.users)]
    counts = [places.count(worker) for worker in range(of.workers)]
    others = (of.users - counts[0]) / (of.workers - 1)
    assert counts[0] == pytest.approx(of.users / of.workers * busiest, abs=1)
    assert counts[1:] == [pytest.approx(others, abs=2)] * (of.workers - 1)


def test_the_busiest_worker_is_full_first() -> None:
    """The users of the other workers pause as long as before, so the rest of the machine stays idle."""
    light = replace(ONE, users=1000, workers=4, think_seconds=1000 * WORKER / 2)
    even, uneven = (
        Simulation(replace(light, busiest=busiest)).run(requests=20_000, warm_up=4000) for busiest in (1, 3)
    )
    assert even.worker_use == pytest.approx(0.5, rel=CLOSE)
    assert uneven.throughput < 0.9 * even.throughput
    assert uneven.p99_seconds > 20 * even.p99_seconds


def test_on_shared_cores_everything_adds_up() -> None:
    shared = replace(ONE, users=100, workers=2, shared_cores=1, client_seconds=50e-6)
    found = Simulation(shared).run(requests=10_000, warm_up=1000)
    assert found.throughput == pytest.approx(1 / (WORKER + DATABASE + 50e-6), rel=0.01)


def test_a_seed_gives_the_same_again() -> None:
    runs = [Simulation(Deployment(), seed=seed).run(requests=500, warm_up=100) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_the_command_prints_a_line_for_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--users", "10", "--requests", "200", "--workers", "1", "2", "--pool-size", "1", "5"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["workers", "pool", "requests/s"]
    assert [line.split()[:2] for line in lines] == [["1", "1"], ["1", "5"], ["2", "1"], ["2", "5"]]


def test_open_connections_are_counted_by_who_holds_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        port = server.getsockname()[1]
        with connected(port, 3, pause_seconds=0), server.accept()[0], server.accept()[0]:
            assert holders([os.getpid(), other.pid], port) == [2, 0]


@pytest.mark.parametrize(("held", "times"), [([5, 5], 1), ([0, 0, 0, 8], 4), ([1, 2], 4 / 3)])
def test_unevenness_is_the_fullest_to_the_average(held: list[int], times: float) -> None:
    assert unevenness(held) == pytest.approx(times)
