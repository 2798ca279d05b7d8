import pytest

from dda_core.compilation.status import CompilationStatus


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
