"""The files for a Prefect server with authentication and TLS.

No container is started here; ``test_wheel.py`` tests that the Dockerfile's steps give a working installation.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from prefect.settings import Settings
from prefect.settings.legacy import _get_settings_fields

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deployments" / "server"
DOCKERFILE = FOLDER / "Dockerfile"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())


class Instruction(NamedTuple):
    """One instruction of a Dockerfile, with its continuation lines joined."""

    name: str
    words: str


class Stage(NamedTuple):
    """A build stage, which starts with FROM."""

    name: str
    base: str
    instructions: list[Instruction]

    def all(self, name: str) -> list[str]:
        return [each.words for each in self.instructions if each.name == name]


def read_stages() -> dict[str, Stage]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    stages: dict[str, Stage] = {}
    for line in filter(str.strip, text.splitlines()):
        name, _, words = line.strip().partition(" ")
        if name == "FROM":
            base, _, stage = words.partition(" AS ")
            stages[stage] = Stage(stage, base, [])
        else:
            [*_, last] = stages.values()
            last.instructions.append(Instruction(name, " ".join(words.split())))
    return stages


STAGES = read_stages()


def lineage(stage: str) -> list[Stage]:
    """The stage and the stages it builds on, nearest first."""
    found = [STAGES[stage]]
    while found[-1].base in STAGES:
        found.append(STAGES[found[-1].base])
    return found


def test_compose_names_only_what_it_defines():
    services = COMPOSE["services"]
    assert services.keys() == {"database", "server", "worker", "proxy"}
    for service in services.values():
        assert "image" in service
        assert set(service.get("depends_on", {})) <= services.keys()
        for needed in service.get("depends_on", {}):
            target = services[needed].get("build", {}).get("target")
            assert STAGES[target].all("HEALTHCHECK") if target else "healthcheck" in services[needed]
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or source in ("./nginx.conf", "./tls")


@pytest.mark.parametrize("name", ["server", "worker"])
def test_server_and_worker_are_built_from_the_dockerfile(name: str):
    build = COMPOSE["services"][name]["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT
    assert ROOT / build["dockerfile"] == DOCKERFILE
    assert build["target"] == name
    assert STAGES[name].all("HEALTHCHECK")


def test_images_are_pinned():
    # hadolint DL3006, DL3007: never latest; pinned to the patch version for reproducible builds.
    images = [service["image"] for service in COMPOSE["services"].values() if "build" not in service]
    images += [stage.base for stage in STAGES.values() if stage.base not in STAGES]
    assert len(images) == 4
    for image in images:
        assert re.search(r":\d+\.\d+(\.\d+)?(-[a-z]+)*$", image), image


@pytest.mark.parametrize("stage", ["server", "worker"])
def test_containers_do_not_run_as_root(stage: str):
    # hadolint DL3002: the last USER is not root.
    [user, *_] = [user for each in lineage(stage) for user in reversed(each.all("USER"))]
    assert user == "dda"
    assert f"--create-home {user}" in " ".join(word for each in lineage(stage) for word in each.all("RUN"))


def test_commands_and_health_checks_have_the_exec_form():
    # hadolint DL3025: without a shell in between, signals reach the process.
    commands = [words for stage in STAGES.values() for words in (*stage.all("CMD"), *stage.all("ENTRYPOINT"))]
    checks = [words.partition(" CMD ")[2] for stage in STAGES.values() for words in stage.all("HEALTHCHECK")]
    assert len(commands) == len(checks) == 2
    for command in (*commands, *checks):
        assert all(isinstance(word, str) for word in json.loads(command))


def test_folders_are_absolute_and_only_files_are_copied():
    instructions = [each for stage in STAGES.values() for each in stage.instructions]
    names = {each.name for each in instructions}
    # hadolint DL3000, DL3003, DL3020, DL3044 and DL4000.
    assert names == {"WORKDIR", "RUN", "ENV", "COPY", "USER", "EXPOSE", "HEALTHCHECK", "CMD"}
    for name, words in instructions:
        if name == "WORKDIR":
            assert words.startswith("/")
        if name == "RUN":
            assert not re.search(r"\b(cd|sudo|curl|wget|apt-get)\b", words), words
        if name == "COPY" and not words.startswith("--from="):
            *sources, _ = words.split()
            # Never the whole folder, only what the wheel is built from.
            assert all(source != "." and (ROOT / source).exists() for source in sources), words


def test_what_pip_installs_is_pinned_and_hashed_and_leaves_no_cache():
    # hadolint DL3013 and DL3042.
    runs = [run for stage in STAGES.values() for run in stage.all("RUN")]
    installs = [part.strip() for run in runs for part in run.split("&&") if "pip " in part]
    assert len(installs) == 3
    for install in installs:
        assert {"--no-cache-dir", "--no-deps"} <= set(install.split()), install
        assert "--require-hashes" in install or install.endswith((" .", "/*.whl")), install


def test_only_the_proxy_is_exposed_and_the_server_needs_a_password():
    assert [name for name, service in COMPOSE["services"].items() if "ports" in service] == ["proxy"]
    assert "PREFECT_SERVER_API_AUTH_STRING=" in " ".join(COMPOSE["services"]["server"]["command"])
    assert "PREFECT_API_AUTH_STRING=" in " ".join(COMPOSE["services"]["worker"]["command"])


def test_every_setting_is_a_prefect_setting():
    text = (FOLDER / "compose.yaml").read_text()
    names = set(re.findall(r"PREFECT_[A-Z_]+", text))
    assert len(names) > 6
    assert names <= set(_get_settings_fields(Settings))


def test_the_folders_secrets_are_not_committed_or_packaged():
    assert {Path(each["file"]).parent for each in COMPOSE["secrets"].values()} == {Path("secrets")}
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for folder in ("deployments/server/secrets", "deployments/server/tls"):
        for ignored in (".gitignore", ".dockerignore"):
            assert folder in [line.rstrip("/") for line in (ROOT / ignored).read_text().splitlines()]
        assert folder in wheel["exclude"]


def test_password_files_are_private_to_the_containers_user(tmp_path: Path):
    page = (ROOT / "docs" / "operate.md").read_text()
    lines = re.findall(r"^\$ (.*deployments/server/secrets.*)$", page, re.M)
    makes = [line for line in lines if line.startswith(("mkdir", "(umask"))]
    folder = tmp_path / "deployments" / "server"
    folder.mkdir(parents=True)
    subprocess.run(["sh", "-ec", "\n".join(["umask 022", *makes])], cwd=tmp_path, check=True)
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
    made = {f"secrets/{path.name}": path.stat().st_mode & 0o777 for path in (folder / "secrets").iterdir()}
    assert made == {each["file"]: 0o600 for each in COMPOSE["secrets"].values()}
    assert (folder / "secrets" / "auth.txt").read_text().startswith("admin:")
    [user] = re.findall(r"useradd --uid (\d+)", (FOLDER / "Dockerfile").read_text())
    assert f"run as user {user}" in page
    assert f"sudo chown {user} deployments/server/secrets/*.txt" in page
    assert "chmod 644" not in page


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_accepts_its_configuration(tmp_path: Path):
    files = ["-keyout", str(tmp_path / "privkey.pem"), "-out", str(tmp_path / "fullchain.pem")]
    subject = ["-days", "1", "-subj", "/CN=prefect.example.com"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files]
    subprocess.run(made, check=True, capture_output=True)
    site = (FOLDER / "nginx.conf").read_text().replace("/etc/nginx/tls", str(tmp_path))
    (tmp_path / "site.conf").write_text(site.replace("http://server:", "http://127.0.0.1:"))
    whole = f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}} http {{ include {tmp_path}/site.conf; }}"
    (tmp_path / "nginx.conf").write_text(whole)
    checked = subprocess.run(["nginx", "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
