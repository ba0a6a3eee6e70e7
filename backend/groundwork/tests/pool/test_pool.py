"""The order of events in the pool."""

import asyncio
from typing import Any

import asyncpg
import pytest

from groundwork.data.pool import Pool
from groundwork.errors import Unavailable
from groundwork.tests.pool.fakes import FakeServer, pool_of, settle, waiting

pytestmark = pytest.mark.asyncio(loop_scope="module")

IDLE_FOR_LONG = 6
"""Seconds after which an idle connection is checked before its next use."""


async def test_connections_are_opened_when_they_are_needed_and_kept(server: FakeServer) -> None:
    pool = pool_of(server, size=3)
    first = await pool.acquire()
    second = await pool.acquire()
    assert server.open_count() == 2
    pool.release(first)
    pool.release(second)
    assert await pool.acquire() is second, "the one used last is used next"
    assert server.open_count() == 2


async def test_connections_that_are_opened_at_the_start_are_idle_for_the_first_requests(server: FakeServer) -> None:
    pool = pool_of(server, size=3)
    pool.open_at_start(2)
    await settle()
    assert (server.attempts, server.open_count()) == (2, 2)
    first, second = await pool.acquire(), await pool.acquire()
    assert {first, second} == {*server.opened}
    assert server.attempts == 2
    await pool.acquire()
    assert server.attempts == 3


async def test_nothing_is_opened_at_the_start_unless_it_is_wanted(server: FakeServer) -> None:
    pool = pool_of(server, size=3)
    pool.open_at_start(0)
    await settle()
    assert server.attempts == 0


async def test_no_more_is_opened_at_the_start_than_the_pool_holds(server: FakeServer) -> None:
    pool = pool_of(server, size=2)
    pool.open_at_start(5)
    await settle()
    assert server.open_count() == 2


async def test_a_database_that_is_away_at_the_start_is_not_asked_again_before_a_request_comes(
    server: FakeServer,
) -> None:
    pool = pool_of(server, size=3)
    server.error = ConnectionRefusedError()
    pool.open_at_start(2)
    await asyncio.sleep(60)
    assert server.attempts == 1
    server.error = None
    await pool.acquire()
    await settle()
    assert (server.attempts, server.open_count()) == (2, 1)


async def test_a_request_takes_the_connection_that_is_being_opened_at_the_start(server: FakeServer) -> None:
    pool = pool_of(server, size=3)
    server.gate.clear()
    pool.open_at_start(1)
    waiter = await waiting(pool)
    server.gate.set()
    assert await waiter is server.opened[0]
    assert server.attempts == 1


async def test_a_connection_that_is_being_opened_when_the_pool_is_closed_is_closed(server: FakeServer) -> None:
    pool = pool_of(server, size=3)
    server.gate.clear()
    pool.open_at_start(2)
    await settle()
    closing = asyncio.create_task(pool.close())
    await settle()
    server.gate.set()
    await closing
    assert (server.attempts, len(server.opened), server.open_count()) == (1, 1, 0)


async def test_a_request_does_not_wait_for_a_connection_that_is_being_opened_when_another_comes_free(
    server: FakeServer,
) -> None:
    pool = pool_of(server, size=2)
    used = await pool.acquire()
    server.gate.clear()
    waiter = await waiting(pool)
    assert server.attempts == 2
    pool.release(used)
    assert await waiter is used
    server.gate.set()
    await settle()
    assert await pool.acquire() is server.opened[1]


async def test_a_connection_that_nobody_waits_for_any_more_is_used_after_those_that_are_prepared(
    server: FakeServer,
) -> None:
    """On a connection where a statement is not prepared, it takes one more round trip."""
    pool = pool_of(server, size=2)
    used: Any = await pool.acquire()
    server.gate.clear()
    waiter = await waiting(pool)
    pool.release(used)
    pool.release(await waiter)
    server.gate.set()
    await settle()
    first, second = await pool.acquire(), await pool.acquire()
    assert (first, second) == (used, server.opened[1])
    assert (used.checks, server.opened[1].checks) == (0, 0)
    pool.release(second)
    pool.release(first)
    await pool.close()
    assert server.open_count() == 0


async def test_waiters_are_served_in_the_order_in_which_they_came(server: FakeServer) -> None:
    pool = pool_of(server, size=2)
    order: list[int] = []

    async def request(number: int) -> None:
        connection = await pool.acquire()
        order.append(number)
        await asyncio.sleep(0)
        pool.release(connection)

    await asyncio.gather(*map(request, range(200)))
    assert order == list(range(200))
    assert server.open_count() == 2


async def test_a_newcomer_does_not_overtake_a_waiter(server: FakeServer) -> None:
    pool = pool_of(server)
    connection = await pool.acquire()
    waiter = await waiting(pool)
    pool.release(connection)
    newcomer = asyncio.create_task(pool.acquire())
    assert await waiter is connection
    await settle()
    assert not newcomer.done()
    pool.release(connection)
    assert await newcomer is connection


async def test_never_more_connections_than_the_pools_size(server: FakeServer) -> None:
    pool = pool_of(server, size=3)
    server.gate.clear()
    requests = [asyncio.create_task(pool.acquire()) for _ in range(10)]
    await settle()
    server.gate.set()
    await settle()
    assert len(server.opened) == 3
    assert sum(request.done() for request in requests) == 3
    for request in requests:
        pool.release(await request)
    assert len(server.opened) == 3


async def test_a_cancelled_waiter_loses_no_connection(server: FakeServer) -> None:
    pool = pool_of(server)
    connection = await pool.acquire()
    cancelled, next_waiter = await waiting(pool), await waiting(pool)
    cancelled.cancel()
    pool.release(connection)
    assert await next_waiter is connection
    assert cancelled.cancelled()


async def test_a_waiter_cancelled_at_the_hand_over_loses_no_connection(server: FakeServer) -> None:
    pool = pool_of(server)
    connection = await pool.acquire()
    cancelled, next_waiter = await waiting(pool), await waiting(pool)
    pool.release(connection)
    cancelled.cancel()
    assert await next_waiter is connection
    assert cancelled.cancelled()
    pool.release(connection)
    assert await pool.acquire() is connection


async def test_a_waiter_cancelled_while_its_connection_opens_leaves_it_to_the_next(server: FakeServer) -> None:
    pool = pool_of(server)
    server.gate.clear()
    cancelled = await waiting(pool)
    cancelled.cancel()
    await settle()
    server.gate.set()
    await settle()
    assert await pool.acquire() is server.opened[0]
    assert len(server.opened) == 1


async def test_a_waiter_gives_up_in_time_and_later_ones_are_served(server: FakeServer) -> None:
    pool = pool_of(server, wait_seconds=0.05)
    connection = await pool.acquire()
    with pytest.raises(Unavailable) as caught:
        await pool.acquire()
    assert isinstance(caught.value.__cause__, TimeoutError)
    later = await waiting(pool)
    pool.release(connection)
    assert await later is connection


async def test_every_waiter_has_its_own_deadline(server: FakeServer) -> None:
    pool = pool_of(server, wait_seconds=0.1)
    connection = await pool.acquire()
    early = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0.05)
    late = asyncio.create_task(pool.acquire())
    with pytest.raises(Unavailable):
        await early
    pool.release(connection)
    assert await late is connection


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.TooManyConnectionsError("full"),
        asyncpg.CannotConnectNowError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_attempts_go_on_while_requests_wait(server: FakeServer, error: Exception) -> None:
    pool = pool_of(server, size=2, wait_seconds=3600)
    server.error = error
    waiters = [await waiting(pool) for _ in range(5)]
    await asyncio.sleep(0.1)
    assert not any(waiter.done() for waiter in waiters)
    assert 1 < server.attempts < 10, "they follow each other with pauses"
    server.error = None
    async with asyncio.timeout(10):
        pool.release(await waiters[0])


async def test_a_request_that_waited_in_vain_says_why(server: FakeServer) -> None:
    pool = pool_of(server, wait_seconds=0.05)
    server.error = ConnectionRefusedError()
    with pytest.raises(Unavailable) as caught:
        await pool.acquire()
    assert caught.value.__cause__ is server.error


async def test_while_the_database_is_away_for_long_a_request_waits_for_one_attempt(server: FakeServer) -> None:
    pool = pool_of(server, size=2, wait_seconds=0.5)
    server.error = ConnectionRefusedError()
    with pytest.raises(Unavailable):
        await pool.acquire()
    await asyncio.sleep(0.3)  # longer than any pause between attempts
    before = server.attempts
    async with asyncio.timeout(10):
        failures = await asyncio.gather(*(pool.acquire() for _ in range(50)), return_exceptions=True)
    assert {type(failure) for failure in failures} == {Unavailable}
    assert server.attempts == before + 1
    server.error = None
    assert await pool.acquire()


@pytest.mark.parametrize(
    "error",
    [asyncpg.InvalidPasswordError("no"), asyncpg.InvalidCatalogNameError("no"), asyncpg.InterfaceError("no")],
    ids=lambda error: type(error).__name__,
)
async def test_waiters_fail_at_once_when_waiting_would_not_help(server: FakeServer, error: Exception) -> None:
    pool = pool_of(server, size=2, wait_seconds=3600)
    server.error = error
    async with asyncio.timeout(10):
        failures = await asyncio.gather(*(pool.acquire() for _ in range(5)), return_exceptions=True)
    assert [type(failure) for failure in failures] == [Unavailable] * 5
    assert {getattr(failure, "__cause__", None) for failure in failures} == {error}
    server.error = None
    assert await pool.acquire() is server.opened[0]


async def test_the_first_connection_is_opened_alone(server: FakeServer) -> None:
    pool = pool_of(server, size=5)
    server.gate.clear()
    waiters = [await waiting(pool) for _ in range(5)]
    assert server.attempts == 1
    server.gate.set()
    await asyncio.gather(*waiters)
    assert server.attempts == 5


async def test_an_attempt_that_hangs_is_not_waited_for(server: FakeServer) -> None:
    pool = pool_of(server, size=2, wait_seconds=3600)
    server.gate.clear()
    waiter = await waiting(pool)
    server.come_back()
    async with asyncio.timeout(1):
        assert await waiter is server.opened[0]
    await pool.close()


@pytest.mark.parametrize("size", [1, 3])
async def test_attempts_that_hang_are_no_more_than_the_pools_size(server: FakeServer, size: int) -> None:
    pool = pool_of(server, size=size)
    server.gate.clear()
    waiters = [await waiting(pool) for _ in range(5)]
    await asyncio.sleep(4)  # they count as hanging after half a second, and are given up after five
    assert server.attempts == size
    server.gate.set()
    await waiters[0]
    await settle()
    assert server.attempts == len(server.opened) == server.open_count() == size
    await pool.close()


async def test_a_request_outlives_an_attempt_that_hangs_for_good(server: FakeServer) -> None:
    """In a pool of one, the attempt that hangs is given up while the request still waits."""
    pool = pool_of(server, wait_seconds=2)
    server.gate.clear()
    waiter = await waiting(pool)
    server.come_back()
    assert await waiter is server.opened[0]


async def test_healthy_idle_connections_serve_while_an_attempt_hangs(server: FakeServer) -> None:
    pool = pool_of(server, size=3, wait_seconds=3600)
    first, second = await pool.acquire(), await pool.acquire()
    server.gate.clear()
    hanging = await waiting(pool)
    pool.release(first)
    assert await hanging is first, "the attempt that was begun for it goes on hanging"
    pool.release(second)
    await asyncio.sleep(IDLE_FOR_LONG)
    async with asyncio.timeout(1):
        assert await pool.acquire() is second
    assert server.opened[1].checks == 1
    await pool.close()


async def test_more_attempts_are_made_beside_one_that_hangs_while_connections_are_in_use(server: FakeServer) -> None:
    pool = pool_of(server, size=3, wait_seconds=3600)
    await pool.acquire()
    server.gate.clear()
    waiter = await waiting(pool)
    server.come_back()
    async with asyncio.timeout(1):
        assert await waiter is server.opened[1]
    await pool.close()


async def test_a_session_that_is_being_closed_counts_against_the_size(server: FakeServer) -> None:
    """The server counts a session until it has ended, and its limit may be as low as the pool's size."""
    pool = pool_of(server)
    connection = await pool.acquire()
    server.opened[0].closing = asyncio.Event()
    pool.discard(connection)
    waiter = await waiting(pool)
    assert server.attempts == 1
    server.opened[0].closing.set()
    assert await waiter is server.opened[1]


@pytest.mark.parametrize("how", ["discarded", "retired"])
async def test_a_close_that_hangs_keeps_its_place_for_a_moment_only(server: FakeServer, how: str) -> None:
    pool = pool_of(server)
    connection = await pool.acquire()
    server.opened[0].closing = asyncio.Event()
    if how == "discarded":
        pool.discard(connection)
    else:
        pool.release(connection)
        pool.replace_after_failover()
    async with asyncio.timeout(10):
        assert await pool.acquire() is server.opened[1]
    server.opened[0].closing.set()


async def test_connections_that_no_longer_answer_are_dropped_without_waiting(server: FakeServer) -> None:
    pool = pool_of(server, size=3)
    for connection in [await pool.acquire() for _ in range(3)]:
        pool.release(connection)
    for fake in server.opened:
        fake.dead, fake.closing = True, asyncio.Event()
    await asyncio.sleep(IDLE_FOR_LONG)
    async with asyncio.timeout(0.9):  # less than the time for which a close counts
        assert await pool.acquire() is server.opened[3]
    assert server.open_count() == 1


async def test_waiters_that_were_cancelled_are_not_counted(server: FakeServer) -> None:
    server.gate.clear()
    pool = pool_of(server, size=5, queue_seconds=0.4)
    gone = [asyncio.create_task(pool.acquire()) for _ in range(5000)]
    await settle()
    assert pool.overloaded
    for task in gone:
        task.cancel()
    await settle()
    assert not pool.overloaded
    waiter = await waiting(pool)
    server.gate.set()
    await waiter
    assert server.attempts == 1, "nobody else waits"


async def test_a_connection_is_checked_when_it_was_idle_for_long(server: FakeServer) -> None:
    pool = pool_of(server)
    connection = await pool.acquire()
    pool.release(connection)
    assert await pool.acquire() is connection
    assert server.opened[0].checks == 0
    pool.release(connection)
    await asyncio.sleep(IDLE_FOR_LONG)
    assert await pool.acquire() is connection
    assert server.opened[0].checks == 1


async def test_one_dead_connection_ends_those_that_were_idle_beside_it(server: FakeServer) -> None:
    pool = pool_of(server, size=3)
    for connection in [await pool.acquire() for _ in range(3)]:
        pool.release(connection)
    for fake in server.opened:
        fake.dead = True
    await asyncio.sleep(IDLE_FOR_LONG)
    assert await pool.acquire() is server.opened[3]
    await settle()
    assert server.open_count() == 1
    assert sum(fake.checks for fake in server.opened) == 1


async def test_a_check_that_the_server_cancels_costs_no_connection(server: FakeServer) -> None:
    pool = pool_of(server, size=3)
    for connection in [await pool.acquire() for _ in range(3)]:
        pool.release(connection)
    for fake in server.opened:
        fake.error = asyncpg.QueryCanceledError("canceling statement due to statement timeout")
    await asyncio.sleep(IDLE_FOR_LONG)
    assert await pool.acquire() is server.opened[2]
    assert server.open_count() == server.attempts == 3


async def test_after_a_loss_every_idle_connection_is_checked_once(server: FakeServer) -> None:
    pool = pool_of(server, size=2)
    first, second = await pool.acquire(), await pool.acquire()
    pool.release(first)
    await asyncio.sleep(1)
    pool.revalidate_idle()
    pool.discard(second)
    for _ in range(2):
        assert await pool.acquire() is first
        pool.release(first)
    assert server.opened[0].checks == 1


async def test_a_defect_while_connecting_costs_the_pool_no_place(server: FakeServer) -> None:
    pool = pool_of(server, wait_seconds=3600)
    server.error = RuntimeError("nobody expected this")
    for _ in range(3):
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable):
                await pool.acquire()
    server.error = None
    assert await pool.acquire() is server.opened[0]


async def test_waiters_are_served_by_living_connections_while_no_new_one_opens(server: FakeServer) -> None:
    pool = pool_of(server, size=5)
    connection = await pool.acquire()
    server.error = ConnectionRefusedError()
    waiters = [await waiting(pool), await waiting(pool)]
    for waiter in waiters:
        pool.release(connection)
        assert await waiter is connection


async def test_a_discarded_connection_is_replaced_for_whoever_waits(server: FakeServer) -> None:
    pool = pool_of(server)
    connection = await pool.acquire()
    waiter = await waiting(pool)
    pool.discard(connection)
    assert await waiter is server.opened[1]
    assert server.open_count() == 1


async def test_a_connection_given_back_closed_is_replaced_for_whoever_waits(server: FakeServer) -> None:
    pool = pool_of(server)
    connection = await pool.acquire()
    waiter = await waiting(pool)
    connection.terminate()
    pool.release(connection)
    assert await waiter is server.opened[1]


async def test_a_connection_that_closed_while_idle_is_not_handed_out(server: FakeServer) -> None:
    pool = pool_of(server, size=2)
    connections = [await pool.acquire(), await pool.acquire()]
    for connection in connections:
        pool.release(connection)
        connection.terminate()
    assert await pool.acquire() is server.opened[2]
    assert await pool.acquire() is server.opened[3]


async def test_a_refused_write_closes_idle_connections_but_not_again_at_once(server: FakeServer) -> None:
    pool = pool_of(server, size=2)
    for connection in [await pool.acquire(), await pool.acquire()]:
        pool.release(connection)
    pool.replace_after_failover()
    await settle()
    assert server.open_count() == 0
    connection = await pool.acquire()
    pool.release(connection)
    pool.replace_after_failover()
    assert await pool.acquire() is connection


async def test_once_a_connection_takes_writes_again_those_before_it_are_not_kept(server: FakeServer) -> None:
    """A read on a connection to the old primary would miss what was written on the new one."""
    pool = pool_of(server, size=4)
    idle, in_use, refused = [await pool.acquire() for _ in range(3)]
    pool.replace_after_failover()
    pool.release(idle)
    pool.replace_after_failover()
    pool.discard(refused)
    waiters = [asyncio.create_task(pool.acquire()) for _ in range(2)]
    assert await waiters[0] is idle, "nothing better is known yet"
    new = await waiters[1]
    for connection in (idle, in_use, new):
        pool.release(connection)
    await settle()
    assert [connection.is_closed() for connection in (idle, in_use, new)] == [True, True, False]
    assert await pool.acquire() is new


async def test_connections_are_kept_while_no_server_takes_writes(server: FakeServer) -> None:
    server.in_hot_standby = "on"
    pool = pool_of(server, size=2)
    first = await pool.acquire()
    pool.replace_after_failover()
    second = await pool.acquire()
    pool.release(first)
    pool.release(second)
    await settle()
    assert server.open_count() == 2


async def test_close_fails_waiters_and_whoever_comes_later(server: FakeServer) -> None:
    pool = pool_of(server)
    connection = await pool.acquire()
    waiter = await waiting(pool)
    await pool.close()
    with pytest.raises(Unavailable):
        await waiter
    with pytest.raises(Unavailable):
        await pool.acquire()
    pool.release(connection)
    await settle()
    assert server.open_count() == 0


async def test_close_ends_the_attempt_to_open_a_connection(server: FakeServer) -> None:
    pool = pool_of(server)
    server.gate.clear()
    waiter = await waiting(pool)
    async with asyncio.timeout(10):
        await pool.close()
    with pytest.raises(Unavailable):
        await waiter
    assert not server.opened


async def test_nothing_runs_on_after_close(server: FakeServer) -> None:
    before = asyncio.all_tasks()
    pool = pool_of(server, size=3)
    for connection in [await pool.acquire() for _ in range(3)]:
        pool.release(connection)
    pool.discard(await pool.acquire())
    await pool.close()
    assert asyncio.all_tasks() == before


class TestOverload:
    async def served_slowly(
        self, pool: Pool, connection: asyncpg.Connection, tasks: list[asyncio.Task[asyncpg.Connection]]
    ) -> None:
        """Give each task the connection in turn, for a hundredth of a second."""
        for task in tasks:
            pool.release(connection)
            await task
            await asyncio.sleep(0.01)

    async def test_is_when_a_request_would_wait_too_long(self, server: FakeServer) -> None:
        pool = pool_of(server, queue_seconds=0.2)
        connection = await pool.acquire()
        assert not pool.overloaded
        tasks = [await waiting(pool) for _ in range(342)]
        await self.served_slowly(pool, connection, tasks[:256])
        assert pool.overloaded  # 86 wait, at a hundredth of a second each
        await self.served_slowly(pool, connection, tasks[256:337])
        assert not pool.overloaded  # 5 wait
        await self.served_slowly(pool, connection, tasks[337:])
        pool.release(connection)
        assert not pool.overloaded

    async def test_is_when_too_many_wait_for_the_database_itself(self, server: FakeServer) -> None:
        """The pace is unknown, so the database is assumed to be quick once it is back."""
        server.gate.clear()
        pool = pool_of(server, queue_seconds=0.4)
        tasks = [asyncio.create_task(pool.acquire()) for _ in range(1500)]
        await settle()
        assert not pool.overloaded
        tasks += [asyncio.create_task(pool.acquire()) for _ in range(200)]
        await settle()
        assert pool.overloaded
        await pool.close()
        await asyncio.wait(tasks)

    async def test_is_while_another_connection_is_being_opened(self, server: FakeServer) -> None:
        pool = pool_of(server, size=2, queue_seconds=0.2)
        connection = await pool.acquire()
        server.gate.clear()
        tasks = [await waiting(pool) for _ in range(342)]
        await self.served_slowly(pool, connection, tasks[:256])
        assert pool.overloaded  # 86 wait, at a hundredth of a second each
        server.gate.set()
        await settle()
        assert len(server.opened) == 2
        assert pool.overloaded, "what is known of the pace is not forgotten with each new connection"
        await pool.close()
