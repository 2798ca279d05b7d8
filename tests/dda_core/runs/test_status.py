import pytest
from hypothesis import given
from hypothesis import strategies as st

from dda_core.runs.status import RunStatus, TargetRecord, TargetStatus, run_message, run_status


def records(*statuses, **fields):
    return {f"t{number}": TargetRecord(status=status, **fields) for number, status in enumerate(statuses)}


def test_the_statuses_match_the_contract():
    assert [str(status) for status in TargetStatus] == (
        ["not-started", "compiling", "packaging", "publishing", "deployable", "failed", "stopped", "skipped"]
    )
    assert [str(status) for status in RunStatus] == ["not-started", "in-progress", "completed", "partial", "failed"]


def test_the_keys_of_a_target_match_the_contract():
    names = "status attempt compilation_job compiled_artifact package component version arn seconds reason cause remedy"
    assert " ".join(TargetRecord().model_dump()) == names


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], "not-started"),
        (["not-started", "not-started"], "not-started"),
        (["not-started", "compiling"], "in-progress"),
        (["deployable", "publishing"], "in-progress"),
        (["failed", "packaging"], "in-progress"),
        (["deployable", "not-started"], "in-progress"),
        (["deployable", "deployable"], "completed"),
        (["deployable", "skipped"], "completed"),
        (["skipped"], "completed"),
        (["deployable", "failed"], "partial"),
        (["skipped", "stopped"], "partial"),
        (["failed", "failed"], "failed"),
        (["failed", "stopped"], "failed"),
        (["stopped"], "failed"),
    ],
)
def test_a_runs_status_follows_from_its_targets(statuses, expected):
    assert run_status(records(*statuses)) == expected


@given(st.lists(st.sampled_from(TargetStatus), min_size=1, max_size=6))
def test_a_run_is_never_green_with_a_target_that_devices_cannot_install(statuses):
    status = run_status(records(*statuses))
    assert (status == "completed") == all(each in ("deployable", "skipped") for each in statuses)
    message = run_message(records(*statuses))
    good = sum(each.good for each in statuses)
    assert message.startswith(f"{good}/{len(statuses)} targets deployable")
    assert ("; failed: " in message) == (good < len(statuses))


def test_the_runs_message():
    run = records("deployable", "skipped", "deployable")
    assert run_message(run) == "3/3 targets deployable"
    run["x86_64-cuda"] = TargetRecord(status=TargetStatus.FAILED, reason="ClientError: x", cause="No model.")
    run["jetson"] = TargetRecord(status=TargetStatus.STOPPED, reason="stopped by hand")
    assert run_message(run) == "3/5 targets deployable; failed: x86_64-cuda: No model.; jetson: stopped by hand"
