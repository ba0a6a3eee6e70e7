"""The stack with PgBouncer, in transaction mode, between the service and its database."""

from concurrent.futures import ThreadPoolExecutor

from tests.containers.stack import Stack, create, docker, titles


def test_it_serves_through_pgbouncer(pooled_stack: Stack) -> None:
    pooler = pooled_stack.inspect("pgbouncer")
    assert pooler["State"]["Health"]["Status"] == "healthy"
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(create, (f"Task {number}" for number in range(40))))
    assert {answer.status_code for answer in answers} == {201}
    assert len(titles()) == 40

    # Whatever is connected to the database over the network is the pooler.
    networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    address = docker("inspect", "--format", networks, pooler["Id"]).strip()
    clients = "SELECT DISTINCT host(client_addr) FROM pg_stat_activity WHERE client_addr IS NOT NULL"
    assert pooled_stack.sql(clients) == address
