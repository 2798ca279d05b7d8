from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.deployments.cli.command import dda, dda_json, refusal
from tests.fixtures.archives import trained_archive, write_tar_gz


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return trained_archive(tmp_path / "model.tar.gz", kind="bring-your-own", prefix="./")


def use_case_file(folder: Path, **fields: object) -> Path:
    path = folder / "cookies.yaml"
    given = {"usecase_id": "cookies", "account_id": "123456789012", "region": "us-east-1", "s3_bucket": "dda-cookies"}
    path.write_text(yaml.safe_dump(given | fields))
    return path


@pytest.fixture
def use_case(tmp_path: Path) -> Path:
    return use_case_file(tmp_path)


def test_plan_as_json_has_manifest_requests_and_components(archive: Path, use_case: Path) -> None:
    plan = dda_json("plan", archive, "--use-case-file", use_case, "--model-name", "cookie", "--json")
    assert list(plan) == ["manifest", "compile_requests", "components"]
    assert plan["manifest"] == dda_json("manifest", "build", archive)
    targets = ["jetson-xavier-jp5", "x86_64-cpu", "x86_64-cuda", "arm64-cpu"]
    assert list(plan["compile_requests"]) == list(plan["components"]) == targets
    assert plan["components"]["arm64-cpu"]["name"] == "model-cookie-arm64-cpu"


def test_plan_uses_the_given_targets_or_the_use_cases(archive: Path, tmp_path: Path) -> None:
    file = use_case_file(tmp_path, targets=["jetson-xavier-jp6"])
    arguments = ("plan", archive, "--use-case-file", file, "--model-name", "cookie", "--json")
    assert list(dda_json(*arguments)["components"]) == ["jetson-xavier-jp6"]
    assert list(dda_json(*arguments, "--targets", "aarch64, x86_64")["components"]) == ["arm64-cpu", "x86_64-cpu"]


def test_every_option_reaches_the_plan(archive: Path, use_case: Path) -> None:
    plan = dda_json(
        *("plan", archive, "--use-case-file", use_case, "--model-name", "Lid inspection", "--targets", "x86_64"),
        *("--component-name", "model-lid", "--component-version", "4.0.0", "--friendly-name", "Our lids"),
        *("--training-job", "lid-7", "--json"),
    )
    assert plan["compile_requests"]["x86_64-cpu"]["CompilationJobName"].startswith("lid-7-x86cpu-")
    component = plan["components"]["x86_64-cpu"]
    assert (component["name"], component["version"]) == ("model-lid-x86-64-cpu", "4.0.0")
    assert "Our lids (x86_64-cpu)" in json.dumps(component["recipe"])


def test_plan_without_json_is_a_table(archive: Path, use_case: Path) -> None:
    result = dda("plan", archive, "--use-case-file", use_case, "--model-name", "cookie")
    assert result.exit_code == 0
    assert "model-cookie-x86-64-cuda" in result.stdout
    assert "mochi.pt" in result.stdout


@pytest.mark.parametrize(
    "wrong",
    [
        ("--training-job", "lid inspection"),
        ("--component-name", "model-lid inspection"),
        ("--component-name", "lid"),
        ("--component-version", "1.1.0"),
        ("--component-version", "0.0.0"),
        ("--targets", "jetson-nano"),
    ],
)
def test_a_wrong_name_is_a_usage_error(wrong: tuple[str, str], archive: Path, use_case: Path) -> None:
    base = ("plan", archive, "--use-case-file", use_case, "--model-name", "cookie", "--json")
    assert wrong[1] in refusal(*base, *wrong, code=2)


def test_model_and_friendly_names_may_contain_spaces(archive: Path, use_case: Path) -> None:
    base = ("plan", archive, "--use-case-file", use_case, "--json")
    plan = dda_json(*base, "--model-name", "Lid inspection", "--friendly-name", "Lids of line 4")
    assert plan["components"]["x86_64-cpu"]["name"] == "model-lid-inspection-x86-64-cpu"


def test_a_refused_archive_or_use_case_says_why(archive: Path, use_case: Path, tmp_path: Path) -> None:
    empty = write_tar_gz(tmp_path / "empty.tar.gz", {})
    assert "empty.tar.gz" in refusal("plan", empty, "--use-case-file", use_case, "--model-name", "m", code=1)
    missing = tmp_path / "missing.yaml"
    assert "missing.yaml" in refusal("plan", archive, "--use-case-file", missing, "--model-name", "m", code=2)
    broken = use_case_file(tmp_path, account_id="12")
    assert "account_id" in refusal("plan", archive, "--use-case-file", broken, "--model-name", "m", code=3)


def test_plan_makes_no_aws_call(archive: Path, use_case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*arguments: object, **options: object) -> None:
        raise AssertionError("an AWS call")

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", called)
    monkeypatch.setattr("boto3.Session.client", called)
    assert dda("plan", archive, "--use-case-file", use_case, "--model-name", "cookie").exit_code == 0


def test_plan_is_what_a_run_sends_for_the_training_job(archive: Path, tmp_path: Path) -> None:
    from dda_core.archives.source import FileSource
    from dda_core.components.component import ComponentNames
    from dda_core.delivery import deliveries
    from dda_core.model.trained import read_trained_archive
    from dda_core.training.job import describe_training_job
    from dda_core.use_case import read_use_case
    from deployments.local.aws import local_aws

    with local_aws(compile_seconds=0, publish_seconds=0) as aws:
        aws.train("Cookie-1", archive)
        file = use_case_file(tmp_path, region=aws.settings.region, s3_bucket=aws.bucket)
        use_case = read_use_case(file)
        job = describe_training_job(aws.client("sagemaker"), "Cookie-1", use_case)
        sent = deliveries(
            use_case,
            use_case.default_targets(),
            job,
            read_trained_archive(FileSource(archive)).input_shape,
            ComponentNames("cookie"),
        )
    plan = dda_json(
        *("plan", archive, "--use-case-file", file, "--model-name", "cookie", "--training-job", "Cookie-1", "--json")
    )
    for delivery in sent:
        assert plan["compile_requests"][delivery.target] == delivery.work.request(1)
        assert plan["components"][delivery.target]["name"] == delivery.component.component


def test_a_target_that_these_devices_cannot_run_is_refused_with_reason_and_remedy(
    archive: Path, use_case: Path, tmp_path: Path
) -> None:
    base = ("plan", archive, "--use-case-file", use_case, "--model-name", "cookie", "--json")
    said = refusal(*base, "--targets", "jetson", code=2)
    assert "JetPack 4 is retired" in said
    assert "localserver" in said
    assert "trained archives do not contain" in refusal(*base, "--targets", "jetson-xavier-jp7", code=2)
    named = use_case_file(tmp_path, localserver={"jetson": "aws.edgeml.dda.LocalServer.arm64JP4"})
    plan = dda_json("plan", archive, "--use-case-file", named, "--model-name", "m", "--targets", "jetson", "--json")
    dependencies = plan["components"]["jetson-xavier"]["recipe"]["ComponentDependencies"]
    assert list(dependencies) == ["aws.edgeml.dda.LocalServer.arm64JP4"]


def test_a_use_cases_own_targets_are_planned(archive: Path, tmp_path: Path) -> None:
    row = {"name": "orin", "suffix": "orin", "arch": "ARM64", "platform": "aarch64", "localserver": "Our.LocalServer"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump([row]))
    file = use_case_file(tmp_path, targets_file="own.yaml", targets=["orin", "x86_64"])
    plan = dda_json("plan", archive, "--use-case-file", file, "--model-name", "cookie", "--json")
    assert list(plan["components"]) == ["orin", "x86_64-cpu"]
    assert plan["components"]["orin"]["name"] == "model-cookie-orin"
    assert list(plan["components"]["orin"]["recipe"]["ComponentDependencies"]) == ["Our.LocalServer"]
    (tmp_path / "own.yaml").write_text(yaml.safe_dump([{**row, "arch": "ARM"}]))
    said = refusal("plan", archive, "--use-case-file", file, "--model-name", "cookie", code=3)
    assert "own.yaml: row 1 (orin): arch" in said
    assert "'ARM'" in said


def test_diff_shows_what_a_preset_would_change(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*arguments: object, **options: object) -> None:
        raise AssertionError("an AWS call")

    monkeypatch.setattr("boto3.Session.client", called)
    file = use_case_file(tmp_path, fleet="original")
    base = ("plan", archive, "--use-case-file", file, "--model-name", "cookie", "--diff")
    changes = dda_json(*base, "--json")
    assert changes["fleet"] == {"before": "original", "after": "current"}
    assert changes["default_targets"] == {"added": ["jetson-xavier-jp5"], "removed": ["jetson-xavier"]}
    assert changes["diffs"]["arm64-cpu"]["diff"] == []
    assert "JetPack 4 is retired" in changes["diffs"]["jetson-xavier"]["refused"]
    renamed = dda_json(*base, "--fleet", "jetpack4-renamed", "--json")
    assert renamed["default_targets"] == {"added": [], "removed": []}
    lines = renamed["diffs"]["arm64-cpu"]["diff"]
    assert '+    "aws.edgeml.dda.LocalServer.arm64JP4": {' in lines
    shown = dda(*base, "--fleet", "jetpack4-renamed").stdout
    assert "Fleet original, compared with jetpack4-renamed." in shown
    assert "\n".join(lines) in shown
    assert "Unchanged recipes: x86_64-cpu, x86_64-cuda." in shown


def test_diff_and_fleet_are_checked(archive: Path, use_case: Path) -> None:
    base = ("plan", archive, "--model-name", "cookie")
    file = ("--use-case-file", use_case)
    assert "unknown fleet 'newest'" in refusal(*base, *file, "--diff", "--fleet", "newest", code=2)
    assert dda(*base, *file, "--fleet", "current").exit_code == 2
    assert dda(*base).exit_code == 2
    assert dda(*base, *file, "--use-case", "lids").exit_code == 2
