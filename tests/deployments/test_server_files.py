"""The files that a Prefect server with authentication and TLS is made from. No container is started here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.settings import Settings
from prefect.settings.legacy import _get_settings_fields

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deployments" / "server"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())


def test_compose_names_only_what_it_defines():
    services = COMPOSE["services"]
    assert services.keys() == {"database", "server", "worker", "proxy"}
    for service in services.values():
        assert "image" in service
        assert set(service.get("depends_on", {})) <= services.keys()
        for needed in service.get("depends_on", {}):
            assert "healthcheck" in services[needed]
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or source in ("./nginx.conf", "./tls")
    assert (FOLDER / services["server"]["build"]["context"]).resolve() == ROOT


def test_only_the_proxy_is_reached_from_outside_and_nobody_gets_in_without_password():
    assert [name for name, service in COMPOSE["services"].items() if "ports" in service] == ["proxy"]
    assert "PREFECT_SERVER_API_AUTH_STRING=" in " ".join(COMPOSE["services"]["server"]["command"])
    assert "PREFECT_API_AUTH_STRING=" in " ".join(COMPOSE["services"]["worker"]["command"])


def test_every_setting_is_one_of_prefect():
    text = (FOLDER / "compose.yaml").read_text()
    names = set(re.findall(r"PREFECT_[A-Z_]+", text))
    assert len(names) > 6
    assert names <= set(_get_settings_fields(Settings))


def test_no_secret_of_the_folder_is_kept_or_put_into_the_image():
    secrets = [f"deployments/server/{each['file']}" for each in COMPOSE["secrets"].values()]
    for ignored in (".gitignore", ".dockerignore"):
        assert "deployments/server/*.txt" in (ROOT / ignored).read_text().splitlines()
    assert all(Path(each).match("deployments/server/*.txt") for each in secrets)


def test_password_files_are_made_for_their_owner_alone_and_the_containers_user_is_the_one_that_is_named(tmp_path: Path):
    page = (ROOT / "docs" / "operate.md").read_text()
    [line] = re.findall(r"^\$ (.*> auth\.txt.*)$", page, re.M)
    subprocess.run(["sh", "-c", f"umask 022; {line}"], cwd=tmp_path, check=True)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        each["file"]: 0o600 for each in COMPOSE["secrets"].values()
    }
    assert (tmp_path / "auth.txt").read_text().startswith("admin:")
    [user] = re.findall(r"useradd --uid (\d+)", COMPOSE["x-pipeline"]["build"]["dockerfile_inline"])
    for text in (page, (FOLDER / "compose.yaml").read_text()):
        assert f"sudo chown {user} *.txt" in text
        assert "chmod 644" not in text


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
