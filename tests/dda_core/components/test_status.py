from dda_core.components.status import ComponentState


def test_requested_and_initiated_are_in_progress():
    assert [state for state in ComponentState if state.in_progress] == ["REQUESTED", "INITIATED"]
