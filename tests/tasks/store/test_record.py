"""What a run notes of its targets, where that is not what one would expect."""

from __future__ import annotations

from dda_core.runs.status import TargetStatus
from tasks.store.record import RunRecord


async def test_a_restarted_run_that_goes_by_what_it_has_kept_forgets_the_attempt_of_others_that_it_looked_at():
    record = RunRecord("lid-7", "11111111-2222-3333-4444-555555555555")
    record.expect(["arm64-cpu"])
    record.note("arm64-cpu", status=TargetStatus.COMPILING, component="model-lid-7-arm64-cpu")
    record.note("arm64-cpu", compilation_job="lid-7-arm64cpu-0a1b2c3d-2", attempt=2)
    record.note_maker("arm64-cpu", "66666666-2222-3333-4444-555555555555", "another run")
    record.note("arm64-cpu", status=TargetStatus.PACKAGING, compilation_job="lid-7-arm64cpu-0a1b2c3d-1", attempt=1)
    line = record.targets["arm64-cpu"]
    assert [(each.attempt, each.compilation_job, each.ended) for each in line.attempts] == [
        (1, "lid-7-arm64cpu-0a1b2c3d-1", None)
    ]
    assert line.by_flow_run is None
    assert not record.links


async def test_an_attempt_of_the_runs_own_stays_where_its_job_was_deleted_and_the_numbers_begin_again():
    record = RunRecord("lid-7", "11111111-2222-3333-4444-555555555555")
    record.expect(["arm64-cpu"])
    record.note("arm64-cpu", status=TargetStatus.COMPILING, component="model-lid-7-arm64-cpu")
    for attempt in (2, 1):
        record.note("arm64-cpu", compilation_job=f"lid-7-arm64cpu-0a1b2c3d-{attempt}", attempt=attempt)
    assert [each.attempt for each in record.targets["arm64-cpu"].attempts] == [2, 1]
