"""A version with a migration takes over through Caddy, in the order of every target: migrate, start new, stop old.

`tests/containers/test_vm.py` does the same with containers and deploy/vm's own script.
"""

import time
from pathlib import Path

from groundwork.tests.caddy import running_caddy
from groundwork.tests.faults.cluster import Cluster
from groundwork.tests.faults.conftest import Say, no_defect
from groundwork.tests.faults.load import Load
from groundwork.tests.faults.test_migrations import upgrade, write_migrations
from groundwork.tests.process import server

# How long roll-out sleeps. After that, Caddy has no idle connection to the version that stops.
PAUSE_SECONDS = 1


async def test_a_roll_out_through_caddy(tmp_path: Path, cluster: Cluster, say: Say) -> None:
    write_migrations(tmp_path)
    with (
        server.running(tmp_path, DATABASE_URL=cluster.url()) as old,
        server.running(tmp_path, DATABASE_URL=cluster.url()) as new,
        running_caddy(tmp_path, backend=old.port, next_=new.port) as caddy,
    ):
        async with Load(caddy.port, tls=caddy.tls) as load:
            await load.run(2)
            code, output = await upgrade(tmp_path, cluster.url(), "step0")
            assert code == 0, output
            caddy.send_requests_to("next")
            switched = time.monotonic()
            await load.run(PAUSE_SECONDS)
            old.process.terminate()
            await load.run(2)
            assert old.process.poll() == 0
        await load.check(cluster.url())
        no_defect(old)
        no_defect(new)
    say(f"{load.describe()}; {load.successes(switched, float('inf'))} after the switch")
    assert set(load.statuses()) == {200, 201}
    assert not load.refused
