"""Cloud Run: each program runs as an account of its own, which can read only its own secret."""

import re
from typing import Any

import yaml

from groundwork.tests.deploy.targets import DEPLOY

FOLDER = DEPLOY / "cloud-run"


def account_and_secrets(template: dict[str, Any]) -> tuple[str, set[str]]:
    (container,) = template["spec"]["containers"]
    references = [each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each]
    return template["spec"]["serviceAccountName"].split("@")[0], {each["name"] for each in references}


def test_each_account_has_the_secret_that_its_page_gives_it() -> None:
    service = yaml.safe_load((FOLDER / "service.yaml").read_text())["spec"]["template"]
    job = yaml.safe_load((FOLDER / "migrate.yaml").read_text())["spec"]["template"]["spec"]["template"]
    given = dict(re.findall(r"^ +account (\S+) (\S+)$", (FOLDER / "README.md").read_text(), re.MULTILINE))
    used = dict(account_and_secrets(each) for each in (service, job))
    assert len(used) == 2
    assert used == {account: {secret} for account, secret in given.items()}
