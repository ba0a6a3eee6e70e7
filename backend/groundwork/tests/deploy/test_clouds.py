"""Checks the files of AWS, Azure, Railway, Heroku and OpenTofu by the platforms' models, and database addresses."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import literal, select

from groundwork.data.dsn import read_hosts, read_url
from groundwork.data.statement import Statement
from groundwork.tests.core import database_at
from groundwork.tests.deploy.clouds import CLOUDS, stack
from groundwork.tests.deploy.targets import DEPLOY, ROOT

# These packages are installed for these tests only. They take some 100 MB, and nothing else needs them.
MODELS = ["cfn-lint==1.58.0", "azure-mgmt-appcontainers==5.1.0", "python-hcl2==8.1.4", "pyyaml"]
SCRIPT = Path(__file__).parent / "cloud_models.py"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run() -> Run:
    """Runs a command in the environment with the models. The tests are skipped if the models cannot be installed."""
    uv = [str(Path(sys.executable).parent / "uv"), "run", "--quiet", "--no-project", "--python", sys.executable]
    command = [*uv, *(f"--with={each}" for each in MODELS), "--"]

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False, cwd="/")

    if run("python", "-c", "").returncode:
        pytest.skip("the models of the clouds cannot be installed: the package index does not answer")
    return run


def broken(tmp_path: Path, path: str, change: tuple[str, str]) -> Path:
    """A copy of a file of deploy/ with a fault."""
    text = (DEPLOY / path).read_text()
    assert change[0] in text
    copy = tmp_path / Path(path).name
    copy.write_text(text.replace(*change))
    return copy


class TestAWS:
    def test_the_stacks_are_what_cloudformation_takes(self, run: Run, tmp_path: Path) -> None:
        """The stacks and a copy with a fault are checked in one run, because each run takes seconds."""
        wrong = broken(tmp_path, "aws/service.yaml", ("StopTimeout", "StopTimeouts"))
        done = run("cfn-lint", "--format", "json", *sorted((DEPLOY / "aws").glob("*.yaml")), wrong)
        (found,) = json.loads(done.stdout)
        assert found["Filename"] == str(wrong)
        assert "StopTimeouts" in found["Message"]

    def test_each_task_may_read_its_own_secret_alone(self) -> None:
        for name, secret in (("service", "UrlSecret"), ("migrate", "DirectUrlSecret")):
            (policy,) = stack(name)["ExecutionRole"]["Policies"]
            (statement,) = policy["PolicyDocument"]["Statement"]
            assert statement == {
                "Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": f"!Ref {secret}",
            }  # fmt: skip

    def test_only_the_balancer_reaches_the_service_and_only_the_service_the_database(self) -> None:
        rule = stack("service")["FromBalancer"]
        assert rule["SourceSecurityGroupId"] == "!GetAtt BalancerGroup.GroupId"
        (rule,) = stack("database")["DatabaseGroup"]["SecurityGroupIngress"]
        assert rule["SourceSecurityGroupId"] == "!GetAtt TaskGroup.GroupId"
        assert stack("database")["Database"]["PubliclyAccessible"] is False


class TestAzure:
    @pytest.mark.parametrize(("name", "model"), [("service", "ContainerApp"), ("migrate", "Job")])
    def test_the_resources_have_members_of_azures_model_only(self, run: Run, name: str, model: str) -> None:
        done = run("python", SCRIPT, "azure", DEPLOY / f"azure/{name}.yaml", model)
        assert (done.stdout.strip(), done.stderr) == ("", "")

    def test_a_wrong_member_is_found(self, run: Run, tmp_path: Path) -> None:
        file = broken(tmp_path, "azure/service.yaml", ("failureThreshold", "failuresThreshold"))
        done = run("python", SCRIPT, "azure", file, "ContainerApp")
        assert "ContainerApp.properties.template.containers.probes.failuresThreshold" in done.stdout


# From the providers' documents: render-oss/render 1.x, kislerdm/neon 0.13.
DOCUMENTED = {
    "resource.neon_project.tasks_api": {
        "allowed_ips", "branch", "compute_provisioner", "default_endpoint_settings", "enable_logical_replication",
        "history_retention_seconds", "name", "org_id", "pg_version", "quota", "region_id", "store_password",
        "lifecycle",
    },
    "resource.neon_project.tasks_api.branch": {"database_name", "name", "role_name"},
    "resource.neon_project.tasks_api.default_endpoint_settings": {
        "autoscaling_limit_max_cu", "autoscaling_limit_min_cu", "suspend_timeout_seconds",
    },
    "resource.render_web_service.tasks_api": {
        "autoscaling", "custom_domains", "disk", "env_vars", "environment_id", "health_check_path",
        "log_stream_override", "maintenance_mode", "max_shutdown_delay_seconds", "name", "notification_override",
        "num_instances", "plan", "pre_deploy_command", "previews", "region", "root_directory", "runtime_source",
        "secret_files", "start_command",
    },
    "resource.render_web_service.tasks_api.runtime_source": {"docker", "image", "native_runtime"},
    "resource.render_web_service.tasks_api.runtime_source.image": {
        "digest", "image_url", "registry_credential_id", "tag",
    },
    "provider.render": {"api_key", "owner_id", "wait_for_deploy_completion"},
    "provider.neon": {"api_key"},
}  # fmt: skip


class TestOpenTofu:
    def test_its_attributes_are_the_providers(self, run: Run) -> None:
        found = json.loads(run("python", SCRIPT, "hcl", DEPLOY / "render/opentofu/main.tf").stdout)
        for block, attributes in DOCUMENTED.items():
            assert set(found[block]) <= attributes, block

    def test_it_says_what_the_blueprint_says(self) -> None:
        text, blueprint = (DEPLOY / "render/opentofu/main.tf").read_text(), (DEPLOY / "render/render.yaml").read_text()
        for ours, theirs in {
            "plan": "plan", "region": "region", "num_instances": "numInstances",
            "pre_deploy_command": "preDeployCommand", "health_check_path": "healthCheckPath",
            "max_shutdown_delay_seconds": "maxShutdownDelaySeconds",
        }.items():  # fmt: skip
            value = re.findall(rf"^    {theirs}: (.+)$", blueprint, re.MULTILINE)[0]
            assert re.search(rf'^  {ours} *= "?{re.escape(value)}"?$', text, re.MULTILINE), ours
        given = re.findall(r'key: (\w+), value: "(.+?)"', blueprint)
        assert given == re.findall(r'^    (\w+) *= \{ value = "(.+)" \}', text, re.MULTILINE)


def test_railways_file_has_the_form_that_railway_reads() -> None:
    schema = ROOT / "backend/groundwork/dev/schemas/railway.json"
    command = ["check-jsonschema", "--schemafile", str(schema), str(DEPLOY / "railway/railway.json")]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PATH": path})


@pytest.mark.parametrize(
    ("cloud", "proxy_seconds"),
    # Heroku's router and Azure's ingress have no files here. Their documentation says how long they keep a connection.
    [("aws", None), ("heroku", 90), ("azure", 240)],
)
def test_the_service_keeps_idle_connections_for_longer_than_the_proxy_in_front(
    cloud: str, proxy_seconds: int | None
) -> None:
    if proxy_seconds is None:
        attributes = stack("service")["Balancer"]["LoadBalancerAttributes"]
        proxy_seconds = next(int(each["Value"]) for each in attributes if each["Key"] == "idle_timeout.timeout_seconds")
    assert CLOUDS[cloud]().setting("keep_alive_seconds") > proxy_seconds


@pytest.mark.parametrize("page", ["cloud-run/cloud-sql.md", "supabase/README.md"])
def test_the_urls_of_the_pages_are_read(page: str, tmp_path: Path) -> None:
    urls = re.findall(r"postgres(?:ql)?://[^\s`]+", (DEPLOY / page).read_text())
    assert urls
    certificate = tmp_path / "ca.crt"
    certificate.touch()
    for url in urls:
        parameters = read_url(url.replace("/etc/ssl/supabase.crt", str(certificate)))
        (host,) = read_hosts(parameters)
        assert host.is_socket == ("/cloudsql/" in url)
        assert parameters.ignored == []
        assert parameters.get("sslrootcert") == (None if host.is_socket else str(certificate))


async def test_a_database_is_reached_by_a_socket_in_a_folder_named_as_cloud_sqls_is(
    database_url: str, tmp_path: Path
) -> None:
    """The folder's name has colons. Behind the socket is a proxy, as in Cloud Run."""
    target = read_hosts(read_url(database_url))[0]

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if target.is_socket:
            there = await asyncio.open_unix_connection(f"{target.address}/.s.PGSQL.{target.port}")
        else:
            there = await asyncio.open_connection(target.address, target.port)
        await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))

    folder = tmp_path / "project:region:tasks-api"
    folder.mkdir()
    parts = urlsplit(database_url)
    user = f"{parts.username}:{parts.password}@" if parts.password else f"{parts.username}@"
    url = f"postgresql://{user}{parts.path}?host={folder}"
    async with await asyncio.start_unix_server(serve, folder / ".s.PGSQL.5432"), database_at(url) as database:
        assert await database.execute(Statement(select(literal(1).label("value")))) == 1
