"""The stack with PgBouncer, in transaction mode, between the service and its database."""

from concurrent.futures import ThreadPoolExecutor

from groundwork.tests.containers.stack import Stack, create, docker, titles
from groundwork.tests.pooler import CHANGES

CREATED = 150


def test_it_serves_through_pgbouncer(pooled_stack: Stack) -> None:
    pooler = pooled_stack.inspect("pgbouncer")
    assert pooler["State"]["Health"]["Status"] == "healthy"
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(create, (f"Task {number}" for number in range(40))))
    assert {answer.status_code for answer in answers} == {201}
    assert len(titles()) == 40

    # Only the pooler is connected to the database over the network.
    networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    address = docker("inspect", "--format", networks, pooler["Id"]).strip()
    clients = "SELECT DISTINCT host(client_addr) FROM pg_stat_activity WHERE client_addr IS NOT NULL"
    assert pooled_stack.sql(clients) == address


def test_the_schema_may_change_while_it_serves(pooled_stack: Stack) -> None:
    """Newer versions of PgBouncer keep prepared statements themselves (`max_prepared_statements`)."""
    with ThreadPoolExecutor(8) as threads:
        for change in CHANGES:
            answers = threads.map(create, [change] * CREATED)
            pooled_stack.sql(change)
            assert {answer.status_code for answer in answers} == {201}
    assert [titles().count(change) for change in CHANGES] == [CREATED] * len(CHANGES)
