"""The real UI in a real browser, with a real local stack.

With ``DDA_SCREENSHOTS=docs/images`` it also takes the screenshots for ``docs/what-you-see.md``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.deployments.local.conftest import Up, api, dda, shell, until
from tests.fixtures.archives import trained_archive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs Debian's chromium and chromium-driver",
    ),
]

SCREENSHOTS = os.environ.get("DDA_SCREENSHOTS")
OPERATORS = "ClientError: InputConfiguration: The following operators are not implemented: ['aten::grid_sampler']"
FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1400,1400"""


class Person(NamedTuple):
    """A person with a browser and a terminal."""

    browser: Any
    stack: dict[str, Any]
    environment: dict[str, str]
    pictures: Path

    def dda(self, *words: str) -> subprocess.CompletedProcess[str]:
        return dda(self.environment, *words)

    def api(self, path: str, body: Any = None) -> Any:
        """A call to the Prefect API."""
        return api(self.stack, path, body)

    def open(self, path: str) -> None:
        self.browser.get(f"{self.stack['ui_url']}/v2{path}")

    def text(self) -> str:
        return str(self.browser.execute_script("return document.body.innerText"))

    def reads(self, *words: str, seconds: float = 40) -> str:
        """The page's text, once it contains all of ``words``."""
        deadline = time.monotonic() + seconds
        while not all(word in (text := self.text()) for word in words):
            missing = [word for word in words if word not in text]
            assert time.monotonic() < deadline, f"the page does not say {missing}; it says:\n{text}"
            time.sleep(0.3)
        return text

    def click(self, css: str, label: str) -> None:
        def found() -> Any:
            elements = self.browser.find_elements("css selector", css)
            return next((each for each in elements if each.text.strip() == label and each.is_displayed()), None)

        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", until(found, 30))
        until(found, 10).click()

    def picture(self, name: str, height: int = 1000) -> None:
        self.browser.set_window_size(1400, height)
        time.sleep(1.5)
        self.browser.save_screenshot(str(self.pictures / f"{name}.png"))

    def artifact(self, key: str) -> str:
        """The id of the latest artifact with that key."""

        def found() -> Any:
            artifacts = self.api("artifacts/filter", {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"})
            return artifacts[0]["id"] if artifacts else None

        return str(until(found, 180))


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("browser")
    stack_dir = folder / "stack"
    up = Up(stack_dir)
    options = webdriver.ChromeOptions()
    for flag in FLAGS.split():
        options.add_argument(flag)
    try:
        stack = up.ready()
        environment = shell(stack, folder)
        browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        pictures = Path(SCREENSHOTS).absolute() if SCREENSHOTS else folder
        try:
            yield Person(browser, stack, environment, pictures)
        finally:
            browser.quit()
    finally:
        up.signal(signal.SIGTERM)


def train(person: Person, tmp_path: Path, name: str, model: str) -> None:
    archive = trained_archive(tmp_path / f"{name}.tar.gz", model_size=300_000)
    made = person.dda("local", "train", name, "--model-archive", str(archive), "--model-name", model)
    assert made.returncode == 0, made.stderr


def test_an_empty_overview_says_what_to_do_first(person: Person) -> None:
    person.open(f"/artifacts/artifact/{person.artifact('training-jobs')}")
    person.reads("dda compile")


def test_a_run_with_a_failure_says_why_and_what_to_do(person: Person, tmp_path: Path) -> None:
    train(person, tmp_path, "lid-inspection-7", "lid-inspection")
    person.dda("local", "fault", "compile", "--target", "x86_64-cuda", "--reason", OPERATORS)
    done = person.dda("compile", "lid-inspection-7", "--use-case", "local", "--wait", "--json")
    assert done.returncode == 1, done.stderr
    run = json.loads(done.stdout)["flow_run_id"]

    person.open(f"/runs/flow-run/{run}?tab=Details")
    person.reads("lid-inspection-7", "Failed", "use-case:local", "compile-training-job")
    person.picture("flow-run")
    person.open(f"/runs/flow-run/{run}?tab=Artifacts")
    person.reads("targets-lid-inspection-7", "progress-arm64-cpu-lid-inspection-7")

    person.open(f"/artifacts/artifact/{person.artifact('targets-lid-inspection-7')}")
    text = person.reads(
        "lid-inspection-7: partial, 3/4 deployable",
        "deployable",
        "aten::grid_sampler",
        "What to do",
        "Will a retry help?",
        "Last lines of the log",
        "Duration and resources",
        "dda artifacts get lid-inspection-7 arm64-cpu",
    )
    assert person.stack["account_id"] not in text
    until(lambda: person.browser.find_elements("css selector", "svg[id^=mermaid], .mermaid svg, svg.flowchart"), 90)
    timeline = "document.querySelector('img[src^=\"data:image/svg\"]')"
    assert person.browser.execute_script(f"return {timeline}.naturalWidth > 100")
    person.picture("targets", 2300)


def submitted(person: Person, training_job: str) -> tuple[float, str]:
    """When the form was submitted, and the id of the run that it started.

    While SQLite is busy, Prefect answers 503 and the form stays: a person clicks again.
    """

    def found() -> Any:
        runs = person.api("flow_runs/filter", {"sort": "START_TIME_DESC"})
        return next((run for run in runs if run["parameters"].get("training_job_name") == training_job), None)

    for attempt in range(1, 5):
        began = time.monotonic()
        person.click("button", "Submit")
        deadline = began + 20
        while time.monotonic() < deadline:
            if run := found():
                return began, str(run["id"])
            time.sleep(0.3)
        person.picture(f"submitted-{attempt}")
    raise AssertionError(f"no run after four clicks on Submit; the page says:\n{person.text()}")


def test_a_person_starts_two_targets_from_the_form(person: Person, tmp_path: Path) -> None:
    train(person, tmp_path, "cap-inspection-3", "cap-inspection")
    deployments = person.api("deployments/filter", {})
    deployment = next(
        each["id"]
        for each in deployments
        if each["name"] == "local" and each["entrypoint"].endswith("compile_training_job")
    )
    person.open(f"/deployments/deployment/{deployment}/run")
    person.reads("training_job_name", "It must be Completed", "targets (Optional)", "Compile again what is")
    person.browser.find_elements("css selector", "textarea")[0].send_keys("cap-inspection-3")
    person.click("button", "Select")
    until(lambda: person.browser.find_elements("css selector", "[role=option]"), 90)
    for target in ("arm64-cpu", "x86_64-cpu"):
        person.click("[role=option]", target)
    person.browser.switch_to.active_element.send_keys("\ue00c")  # Escape closes the list
    until(lambda: not person.browser.find_elements("css selector", "[role=option]"), 90)
    person.picture("form", 1300)
    began, run_id = submitted(person, "cap-inspection-3")

    # The table soon appears under the training job's name.
    artifact = person.artifact("targets-cap-inspection-3")
    assert time.monotonic() - began < 90, "15 s where the machine does nothing else"
    run = person.api(f"flow_runs/{run_id}")
    assert run["name"] == "cap-inspection-3"
    assert run["parameters"]["targets"] == ["arm64-cpu", "x86_64-cpu"]
    person.open(f"/artifacts/artifact/{artifact}")
    until(
        lambda: person.api(f"flow_runs/{run_id}")["state_type"] in ("COMPLETED", "FAILED"),
        120,
    )
    person.browser.refresh()
    person.reads("cap-inspection-3: completed, 2/2 deployable", "model-cap-inspection-arm64-cpu")


def test_the_overview_lists_every_training_job(person: Person, tmp_path: Path) -> None:
    train(person, tmp_path, "never-compiled-1", "never")
    deployment = next(each["id"] for each in person.api("deployments/filter", {}) if each["name"] == "refresh-overview")
    run = person.api(f"deployments/{deployment}/create_flow_run", {})
    until(lambda: person.api(f"flow_runs/{run['id']}")["state_type"] in ("COMPLETED", "FAILED"), 240)
    person.open(f"/artifacts/artifact/{person.artifact('training-jobs')}")
    text = person.reads("lid-inspection-7", "partial", "3/4", "cap-inspection-3", "2/2", "never-compiled-1")
    assert "not-started" in text
    person.picture("overview")
    row = next(each for each in person.browser.find_elements("css selector", "tr") if "lid-inspection-7" in each.text)
    row.find_element("css selector", "a[href*='/runs/flow-run/']").click()
    person.reads("lid-inspection-7", "compile-training-job", "Failed")


def test_history_and_the_models_timeline(person: Person) -> None:
    again = person.dda("compile", "lid-inspection-7", "--use-case", "local", "--wait", "--json")
    assert again.returncode == 0, again.stderr
    assert {each["status"] for each in json.loads(again.stdout)["targets"].values()} == {"skipped", "deployable"}
    rows = json.loads(person.dda("history", "lid-inspection-7", "--json").stdout)
    assert [row["attempt"] for row in rows if row["target"] == "x86_64-cuda"] == [1, 2]
    status = json.loads(person.dda("status", "lid-inspection-7", "--json").stdout)
    assert status["status"] == "completed"
    assert {each["status"] for each in status["targets"].values()} == {"deployable"}

    person.open(f"/artifacts/artifact/{person.artifact('history-lid-inspection-7')}")
    person.reads("lid-inspection-7", "x86_64-cuda", "failed", "deployable")
    person.picture("history", 900)
    person.open("/artifacts/key/model-lid-inspection")
    person.reads("model-lid-inspection", "lid-inspection-7")
    person.picture("model", 700)
