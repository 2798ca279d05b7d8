"""The addresses of this profile's UI, for logs, for the terminal, and for the UI's own pages."""

from __future__ import annotations

from prefect.settings import PREFECT_UI_URL

from dda_core.pages.links import Ui


def ui() -> Ui:
    """The UI at its absolute address."""
    return Ui.at(PREFECT_UI_URL.value())


def page_ui() -> Ui:
    """The UI as pages inside it link to it."""
    return Ui.within(PREFECT_UI_URL.value())


def run_link(flow_run_id: str) -> str:
    """The address of a flow run's page."""
    return ui().run(flow_run_id)


def artifact_link(key: str) -> str:
    """The address of an artifact's page."""
    return ui().artifact(key)
