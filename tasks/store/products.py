"""Finding what the runs of a training job made for a target: compilation jobs, archives, packages, logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from prefect.client.orchestration import PrefectClient

from dda_core.archives.download import Product
from dda_core.compilation.logs import log_uri
from dda_core.exceptions import ArtifactMissing
from dda_core.naming import compilation_output
from dda_core.sanitise import unmasked
from dda_core.use_case import UseCase
from tasks.store.history import JobRun, history_of, records_of, runs_of
from tasks.store.use_cases import load_use_case

NOUNS = {Product.COMPILED: "compiled archive", Product.PACKAGE: "package", Product.LOG: "saved log"}


class FoundJob(NamedTuple):
    """A compilation job of a run, in the account of ``use_case``; ``saved_log`` is the URI of its saved log."""

    name: str
    use_case: UseCase
    saved_log: str


async def find_job(
    client: PrefectClient, training_job: str, target: str, attempt: int | None = None
) -> FoundJob | None:
    """The target's compilation job of that attempt, by default the latest; None if no run has one.

    Raises:
        UnknownUseCase, InvalidUseCase: the run's use case was deleted, or is invalid.
    """
    runs = await runs_of(client, training_job)
    found = _newest_job(runs, target, attempt)
    if found is None:
        return None
    written, run = found
    use_case = await load_use_case(run.use_case)
    name = unmasked(written, use_case.account_id)
    archive = _uris(run, target, written).get(Product.COMPILED)
    folder = unmasked(archive, use_case.account_id) if archive else None
    return FoundJob(name, use_case, log_uri(name, folder or compilation_output(use_case.s3_bucket, name, target)))


async def find_products(
    client: PrefectClient, training_job: str, use_case: str | None = None
) -> dict[str, dict[Product, tuple[str, UseCase]]]:
    """By target, the newest ``s3://`` URI of each product of its runs, with its use case.

    Args:
        client: of the Prefect server.
        training_job: the targets' training job.
        use_case: only consider runs of the use case registered under this name.
    """
    products: dict[str, dict[Product, tuple[str, UseCase]]] = {}
    for run in await runs_of(client, training_job):
        name = run.use_case
        if use_case and name != use_case:
            continue
        made = {target: _uris(run, target) for target in records_of(run)}
        if any(made.values()):
            owner = await load_use_case(name)
            for target, uris in made.items():
                whole = {what: (unmasked(uri, owner.account_id), owner) for what, uri in uris.items()}
                products.setdefault(target, {}).update(whole)
    return products


async def find_product(client: PrefectClient, training_job: str, target: str, what: Product) -> tuple[str, UseCase]:
    """The newest ``s3://`` URI of one product of a target, with its use case.

    Raises:
        ArtifactMissing: no run has made it.
    """
    products = (await find_products(client, training_job)).get(target, {})
    if what in products:
        return products[what]
    if what is Product.LOG and (job := await find_job(client, training_job, target)):
        return job.saved_log, job.use_case
    raise ArtifactMissing(
        f"no run of {training_job} has made the {NOUNS[what]} of {target}"
        + (f", only: {', '.join(products)}" if products else ""),
        training_job=training_job,
        target=target,
        made=products,
        remedy=f"`dda status {training_job}` shows the status of its targets; `dda compile {training_job}` makes them.",
    )


def _newest_job(runs: Sequence[JobRun], target: str, attempt: int | None) -> tuple[str, JobRun] | None:
    by_id = {str(run.run.id): run for run in runs}
    for row in reversed(history_of(runs)):
        if row.target == target and row.compilation_job and attempt in (None, row.attempt):
            return row.compilation_job, by_id[row.flow_run_id]
    # A newly set up server may know a job only through a run that skipped the target.
    for run in reversed(runs):
        record = records_of(run).get(target)
        if record and record.compilation_job and attempt in (None, record.attempt):
            return record.compilation_job, run
    return None


def _uris(run: JobRun, target: str, job: str | None = None) -> dict[Product, str]:
    """The URIs in the run's record of the target; with ``job``, only if it is about that compilation job."""
    uris: dict[Product, str] = {}
    for line in run.lines:
        if line.target == target and job in (None, line.compilation_job):
            for what, uri in (
                (Product.COMPILED, line.compiled_artifact),
                (Product.PACKAGE, line.package),
                (Product.LOG, line.facts.log_uri),
            ):
                if uri:
                    uris[what] = uri
    return uris
