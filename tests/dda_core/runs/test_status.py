import pytest
from hypothesis import given
from hypothesis import strategies as st

from dda_core.runs.status import (
    CompilationStatus,
    ComponentState,
    RunStatus,
    TargetRecord,
    TargetStatus,
    run_message,
    run_status,
)


def records(*statuses, **fields):
    return {f"t{number}": TargetRecord(status=status, **fields) for number, status in enumerate(statuses)}


def test_the_words_are_the_contracts():
    assert [str(status) for status in TargetStatus] == (
        ["not-started", "compiling", "packaging", "publishing", "deployable", "failed", "stopped", "skipped"]
    )
    assert [str(status) for status in RunStatus] == ["not-started", "in-progress", "completed", "partial", "failed"]


def test_the_keys_of_a_target_are_the_contracts():
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
def test_what_targets_make_of_their_run(statuses, expected):
    assert run_status(records(*statuses)) == expected


@given(st.lists(st.sampled_from(TargetStatus), min_size=1, max_size=6))
def test_a_run_is_never_green_with_a_target_that_devices_cannot_install(statuses):
    status = run_status(records(*statuses))
    assert (status == "completed") == all(each in ("deployable", "skipped") for each in statuses)
    message = run_message(records(*statuses))
    good = sum(each.good for each in statuses)
    assert message.startswith(f"{good}/{len(statuses)} targets deployable")
    assert ("; failed: " in message) == (good < len(statuses))


def test_the_runs_sentence():
    run = records("deployable", "skipped", "deployable")
    assert run_message(run) == "3/3 targets deployable"
    run["x86_64-cuda"] = TargetRecord(status=TargetStatus.FAILED, reason="ClientError: x", cause="No model.")
    run["jetson"] = TargetRecord(status=TargetStatus.STOPPED, reason="stopped by hand")
    assert run_message(run) == "3/5 targets deployable; failed: x86_64-cuda: No model.; jetson: stopped by hand"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("COMPLETED", CompilationStatus.COMPLETED),
        ("Completed", CompilationStatus.COMPLETED),
        ("InProgress", CompilationStatus.INPROGRESS),
        ("IN_PROGRESS", CompilationStatus.INPROGRESS),
        ("Stopped", CompilationStatus.STOPPED),
        ("Stopping", CompilationStatus.STOPPING),
        ("STARTING", CompilationStatus.STARTING),
        ("Failed", CompilationStatus.FAILED),
    ],
)
def test_a_compilations_status_is_normalised(text, status):
    assert CompilationStatus.normalise(text) is status


def test_an_unknown_status_of_a_compilation_is_an_error():
    with pytest.raises(ValueError, match="PAUSED"):
        CompilationStatus.normalise("Paused")


def test_stopping_is_neither_active_nor_ended():
    assert [status for status in CompilationStatus if status.active] == ["STARTING", "INPROGRESS"]
    assert [status for status in CompilationStatus if status.ended] == ["COMPLETED", "FAILED", "STOPPED"]


def test_requested_and_initiated_are_on_their_way():
    assert [state for state in ComponentState if state.on_its_way] == ["REQUESTED", "INITIATED"]
