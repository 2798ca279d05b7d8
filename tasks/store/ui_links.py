"""URLs of this profile's UI, for logs, the terminal and the UI's own pages."""

from __future__ import annotations

from prefect.settings import PREFECT_UI_URL

from dda_core.pages.links import Ui


def ui() -> Ui:
    """The UI at its absolute URL."""
    return Ui.at(PREFECT_UI_URL.value())


def page_ui() -> Ui:
    """The UI, for links on its own pages."""
    return Ui.within(PREFECT_UI_URL.value())


def run_link(flow_run_id: str) -> str:
    """The URL of a flow run's page."""
    return ui().run(flow_run_id)


def artifact_link(key: str) -> str:
    """The URL of an artifact's page."""
    return ui().artifact(key)
