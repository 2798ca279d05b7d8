"""Every error of the DDA Pipeline, one class per cause.

::

    DdaError                          exit code 1
    ├── UsageError                    exit code 2: the caller asked for something that does not exist
    │   ├── UnknownTarget
    │   ├── TargetUnavailable
    │   ├── UnknownFleet
    │   ├── RunParametersRefused
    │   ├── FlowRunMissing
    │   ├── InvalidName
    │   ├── ArtifactMissing
    │   ├── ComponentMissing
    │   ├── NothingToDecide
    │   ├── InvalidEvent
    │   ├── FileMissing
    │   └── NoPlainFile
    ├── ConfigurationError            exit code 3: settings, use cases, credentials
    │   ├── InvalidUseCase
    │   ├── UnknownUseCase
    │   ├── InvalidSettings
    │   ├── InvalidCatalogue
    │   ├── YamlRefused
    │   ├── MissingCredentials
    │   ├── RoleNotAssumable
    │   ├── AccessRefused
    │   ├── PrefectUnreachable
    │   ├── ApprovalImpossible
    │   ├── WebhookRefused
    │   └── LocalStackError
    │       ├── EmulatorMissing
    │       └── LocalProcessFailed
    ├── AwsCallFailed                 exit code 4: AWS returned an error, or did not answer
    │   ├── StackFailed
    │   └── ObjectChanged
    ├── InputRefused                  exit code 1: an archive or training job that cannot become a component
    │   ├── TrainingJobMissing
    │   ├── TrainingJobNotCompleted
    │   ├── ArchiveRefused
    │   │   ├── ArchiveBroken
    │   │   ├── ArchiveHostile
    │   │   ├── ModelFileMissing
    │   │   ├── ModelFileAmbiguous
    │   │   ├── ModelFileInvalid
    │   │   ├── ModelDescriptionInvalid
    │   │   └── ShapeMismatch
    │   ├── DeviceWouldRefuse
    │   │   └── CompiledModelUnusable
    │   ├── PackageTooLarge
    │   ├── UnpackedTooLarge
    │   └── RecipeInvalid
    ├── SecretWithheld                exit code 1: another library's error that contained a secret
    ├── Interrupted                   exit code 130: a person or a signal stopped the work
    └── TargetFailed                  exit code 1: one target did not become DEPLOYABLE
        ├── CompilationFailed
        ├── CompilationStopped
        ├── CompilationMismatch
        ├── QuotaReached
        ├── RunCancelled
        ├── PublishingRejected
        ├── PublishFailed
        ├── ComponentTaken
        └── StepTimedOut

Each carries its data as attributes: ``found``, ``where``, ``expected``, ``remedy``, and those of its class. Only
``DdaError.__str__`` builds the sentence, from the first four. Code reads the attributes; the sentence is for people::

    >>> error = FileMissing("lid.zip does not exist", path="lid.zip", expected="a package (.zip)", remedy="Build it.")
    >>> print(error)
    lid.zip does not exist; expected a package (.zip). Build it.
    >>> error.remedy
    'Build it.'
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack

if TYPE_CHECKING:
    from pathlib import Path

_ENDS = (".", "?", "!")


class Facts(TypedDict, total=False):
    """What every error accepts besides ``found``; see ``DdaError``."""

    where: str
    expected: str
    remedy: str


class DdaError(Exception):
    """The base of every error that a user can act on. ``exit_code`` is the command line's exit code.

    Attributes:
        found: what is wrong, as a clause that names its subject, without a full stop.
        where: the file, address or use case concerned; empty if ``found`` names it.
        expected: what should have been there, as a noun phrase; empty if ``found`` says it or it does not apply.
        remedy: what to do, as one or more sentences; empty if there is nothing to do.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, found: str, *, where: str = "", expected: str = "", remedy: str = "") -> None:
        super().__init__(found)
        self.found, self.where, self.expected, self.remedy = found, where, expected, remedy

    def __str__(self) -> str:
        # The only place where an error's sentence is built.
        place = f"{self.where}: " if self.where else ""
        expected = f"; expected {self.expected}" if self.expected else ""
        sentence = f"{place}{self.found}{expected}"
        if self.remedy and sentence:
            return f"{sentence}{'' if sentence.endswith(_ENDS) else '.'} {self.remedy}"
        return sentence or self.remedy

    def __reduce__(self) -> tuple[Any, ...]:
        # Restored from its attributes: BaseException would call the class with the text alone.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class UsageError(DdaError):
    """The caller asked for something that does not exist."""

    exit_code = 2


class UnknownTarget(UsageError):
    """No row of the table of targets has that name."""

    def __init__(self, name: str, known: Iterable[str], where: str = "") -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(f"unknown target {name!r}", where=where, expected=_one_of(self.known))


class TargetUnavailable(UsageError):
    """A known target that nothing can be compiled for: not yet at all, or not for this fleet."""

    def __init__(self, target: str, reason: str, remedy: str) -> None:
        self.target, self.reason = target, reason
        super().__init__(f"target {target!r} is not available: {reason}", remedy=remedy)


class UnknownFleet(UsageError):
    """No fleet preset has that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(f"unknown fleet {name!r}", expected=_one_of(self.known))


class RunParametersRefused(UsageError):
    """A run's parameters do not match the deployment's schema. ``answer`` is the server's response."""

    def __init__(self, found: str, *, answer: str, **facts: Unpack[Facts]) -> None:
        self.answer = answer
        super().__init__(found, **facts)


class FlowRunMissing(UsageError):
    """The Prefect server has no such flow run. ``name`` is its id, or the training job without a run."""

    def __init__(self, found: str, *, name: str, **facts: Unpack[Facts]) -> None:
        self.name = name
        super().__init__(found, **facts)


class InvalidName(UsageError):
    """A ``name`` is not valid for the AWS resource."""

    def __init__(self, found: str, *, name: str, **facts: Unpack[Facts]) -> None:
        self.name = name
        super().__init__(found, **facts)


class ArtifactMissing(UsageError):
    """No run has made the requested product, or a later run has not made it yet.

    ``made`` are the target's existing products.
    """

    def __init__(
        self, found: str, *, training_job: str, target: str, made: Iterable[str], **facts: Unpack[Facts]
    ) -> None:
        self.training_job, self.target, self.made = training_job, target, tuple(map(str, made))
        super().__init__(found, **facts)


class ComponentMissing(UsageError):
    """AWS IoT Greengrass has no such component or version, or it is not a model component."""

    def __init__(self, found: str, *, component: str, **facts: Unpack[Facts]) -> None:
        self.component = component
        super().__init__(found, **facts)


class InvalidEvent(UsageError):
    """A file or message is not the event of a completed training job."""


class NothingToDecide(UsageError):
    """No run of a training job is waiting for approval, or several are."""

    def __init__(self, found: str, *, training_job: str, **facts: Unpack[Facts]) -> None:
        self.training_job = training_job
        super().__init__(found, **facts)


class FileMissing(UsageError):
    """A file that the caller named does not exist, or is not a file. ``path`` may be an ``s3://`` URI."""

    def __init__(self, found: str, *, path: str | Path, **facts: Unpack[Facts]) -> None:
        self.path = str(path)
        super().__init__(found, **facts)


class NoPlainFile(UsageError):
    """The output path is not a plain file; ``kind`` says what it is."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path, kind
        super().__init__(
            f"{path} is {kind} and was left unchanged",
            expected="a plain file or a new name",
            remedy="Give another name.",
        )


class ConfigurationError(DdaError):
    """Settings, a use case or credentials are missing or wrong."""

    exit_code = 3


class InvalidUseCase(ConfigurationError):
    """A use case's file or block has a missing or invalid field."""


class UnknownUseCase(ConfigurationError):
    """No use case is registered under that name.

    ``name`` is empty if only its deployment's address is known; ``known`` are the registered use cases.
    """

    def __init__(self, found: str, *, name: str = "", known: Iterable[str] = (), **facts: Unpack[Facts]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(found, **facts)


class InvalidSettings(ConfigurationError):
    """A ``DDA_`` setting has an invalid value."""


class InvalidCatalogue(ConfigurationError):
    """A data file (targets, fleets, failures; a use case's own targets) is invalid."""


class YamlRefused(ConfigurationError):
    """A text is not YAML, or exceeds a limit. ``line`` and ``column`` count from 1; None if unknown."""

    def __init__(self, found: str, line: int | None = None, column: int | None = None) -> None:
        self.line, self.column = line, column
        super().__init__(found, where="" if line is None else f"line {line}, column {column}")


class MissingCredentials(ConfigurationError):
    """The default credential chain found no AWS credentials."""


class RoleNotAssumable(ConfigurationError):
    """AssumeRole was refused: the ``role``, its trust policy or the external id is wrong."""

    def __init__(self, found: str, *, role: str, remedy: str) -> None:
        self.role = role
        super().__init__(found, remedy=remedy)


class AccessRefused(ConfigurationError):
    """The caller or the SageMaker role lacks access that a run needs; ``findings`` lists what, with remedies."""

    def __init__(self, use_case: str, findings: Iterable[object]) -> None:
        self.use_case, self.findings = use_case, tuple(findings)
        super().__init__(" ".join(map(str, self.findings)), where=f"access check of use case {use_case!r}")


class PrefectUnreachable(ConfigurationError):
    """No Prefect server answers at ``PREFECT_API_URL``, or it refuses the caller. ``url`` has no secrets."""

    def __init__(self, found: str, *, url: str = "", **facts: Unpack[Facts]) -> None:
        self.url = url
        super().__init__(found, **facts)


class WebhookRefused(ConfigurationError):
    """EventBridge cannot call this Prefect server: it has no https or no password."""


class ApprovalImpossible(ConfigurationError):
    """A use case asks for approval, and the run cannot be suspended."""

    def __init__(self, use_case: str) -> None:
        self.use_case = use_case
        super().__init__(
            f"use case {use_case!r} asks for approval before publishing, and only a run of a deployment can wait for "
            f"it",
            remedy="Start it with `dda compile`, or from the deployment in the UI.",
        )


class LocalStackError(ConfigurationError):
    """The local stack does not exist, or did not start."""


class EmulatorMissing(LocalStackError):
    """The packages of the local AWS are not installed; production workers do not need them."""

    def __init__(self, package: str) -> None:
        self.package = package
        super().__init__(
            f"the local AWS needs the package {package}, which is not installed",
            remedy="Install the extra `local`: pip install '.[local]' in the project's folder, or 'WHEEL[local]'.",
        )


class LocalProcessFailed(LocalStackError):
    """A process of the local stack ended or failed. ``log`` is its log file, ``last_lines`` the end of it."""

    def __init__(self, found: str, *, log: str | Path, last_lines: str) -> None:
        self.log, self.last_lines = str(log), last_lines
        super().__init__(f"{found}. The last lines of {log}:\n{last_lines}")


class AwsCallFailed(DdaError):
    """AWS returned an error that botocore's retries did not resolve."""

    exit_code = 4


class StackFailed(AwsCallFailed):
    """CloudFormation could not create, update or delete a ``stack``."""

    def __init__(self, found: str, *, stack: str, **facts: Unpack[Facts]) -> None:
        self.stack = stack
        super().__init__(found, **facts)


class ObjectChanged(AwsCallFailed):
    """An S3 object was replaced while it was read or written."""

    def __init__(self, found: str, *, uri: str, **facts: Unpack[Facts]) -> None:
        self.uri = uri
        super().__init__(found, **facts)


class InputRefused(DdaError):
    """A training job or an archive cannot become a component that devices accept."""


class TrainingJobMissing(InputRefused):
    """The use case's account and Region have no training job of that name."""

    def __init__(self, name: str, *, account_id: str, region: str, use_case: str) -> None:
        self.name, self.account_id, self.region, self.use_case = name, account_id, region, use_case
        super().__init__(
            f"training job {name!r} is not in account {account_id}, Region {region}",
            remedy=f"Check the name, and that use case {use_case!r} is the right one.",
        )


class TrainingJobNotCompleted(InputRefused):
    """The training job's ``status`` is not Completed, or it completed without a model."""

    def __init__(self, found: str, *, name: str, status: str, **facts: Unpack[Facts]) -> None:
        self.name, self.status = name, status
        super().__init__(found, **facts)


class ArchiveRefused(InputRefused):
    """An archive's content cannot be used. ``archive`` is its path or URI."""

    def __init__(self, found: str, *, archive: str, **facts: Unpack[Facts]) -> None:
        self.archive = archive
        super().__init__(found, **facts)


class ArchiveBroken(ArchiveRefused):
    """An archive is empty, truncated or damaged, or is not a gzip tar."""


class ArchiveHostile(ArchiveRefused):
    """An archive holds a member that must not be unpacked: a link, a device, a path traversal or a duplicate name."""


class ModelFileMissing(ArchiveRefused):
    """The trained archive lacks a file that the manifest needs."""


class ModelFileAmbiguous(ArchiveRefused):
    """The trained archive holds several different TorchScript ``files`` in the same folder."""

    def __init__(self, archive: str, files: Iterable[str]) -> None:
        self.files = tuple(files)
        super().__init__(
            f"{archive} holds several TorchScript files at the same place: {', '.join(self.files)}",
            archive=archive,
            expected="exactly one",
            remedy="Remove all but the one to compile.",
        )


class ModelFileInvalid(ArchiveRefused):
    """The model file is not TorchScript. ``kind`` says what it is instead, if known."""

    def __init__(self, file: str, archive: str, kind: str | None) -> None:
        self.file, self.kind = file, kind
        is_instead = f", but {kind}" if kind else ""
        super().__init__(
            f"{file} in {archive} is not a TorchScript file{is_instead}",
            archive=archive,
            expected="a ZIP as torch.jit.save writes it",
            remedy="Export the model again.",
        )


class ModelDescriptionInvalid(ArchiveRefused):
    """``mochi.json``, ``config.yaml`` or ``export_artifacts/manifest.json`` is unreadable or lacks a key."""


class ShapeMismatch(ArchiveRefused):
    """The three descriptions of the input shape disagree, or the pipeline does not support the shape."""


class DeviceWouldRefuse(InputRefused):
    """A manifest or package breaks rules of the device; ``findings`` lists them all, ``where`` names the archive."""

    what: ClassVar[str] = "a device could not run it"

    def __init__(self, where: str, findings: Iterable[object]) -> None:
        self.findings = tuple(findings)
        super().__init__(f"{self.what}: {' '.join(map(str, self.findings))}", where=where)


class CompiledModelUnusable(DeviceWouldRefuse):
    """The device's model loader could not load SageMaker Neo's archive."""

    what = "a device could not load what was compiled"


class PackageTooLarge(InputRefused):
    """A package is larger than AWS IoT Greengrass allows."""

    def __init__(self, where: str, limit: int) -> None:
        self.limit = limit
        super().__init__(
            f"the package is over {limit} bytes, the most that AWS IoT Greengrass takes",
            where=where,
            remedy="Compile a smaller model.",
        )


class UnpackedTooLarge(InputRefused):
    """A package would unpack to more than a device should have to store."""

    def __init__(self, where: str, limit: int) -> None:
        self.limit = limit
        super().__init__(
            f"its files unpack to over {limit} bytes, the most that a package may hold",
            where=where,
            remedy="Compile a smaller model, or remove files that do not belong to it.",
        )


class RecipeInvalid(InputRefused):
    """A component's name, version or recipe breaks a rule of AWS IoT Greengrass."""


class SecretWithheld(DdaError):
    """Replaces another library's error, of class ``kind``, whose secret cannot be masked in place.

    ``text`` is its masked message.
    """

    def __init__(self, kind: str, text: str) -> None:
        self.kind, self.text = kind, text
        super().__init__(f"{kind}: {text}")


class Interrupted(DdaError):
    """The work was stopped on request."""

    exit_code = 130

    def __init__(self, found: str = "the work was stopped on request") -> None:
        super().__init__(found)


class TargetFailed(DdaError):
    """One target did not become DEPLOYABLE.

    ``reason`` is AWS's text, else the whole sentence; ``name`` is the compilation job or component concerned, empty
    if there is none.
    """

    def __init__(self, found: str, *, name: str = "", reason: str | None = None, **facts: Unpack[Facts]) -> None:
        super().__init__(found, **facts)
        self.name = name
        self.reason = reason or str(self)


class CompilationFailed(TargetFailed):
    """A compilation job ended FAILED, and its retry class or attempt limit allows no further attempt."""


class CompilationStopped(TargetFailed):
    """A compilation job was stopped, by a person or by its time limit: ``time_limit_reached`` says which."""

    def __init__(
        self, found: str, *, name: str = "", reason: str | None = None, time_limit_reached: bool = False
    ) -> None:
        self.time_limit_reached = time_limit_reached
        super().__init__(found, name=name, reason=reason)


class CompilationMismatch(TargetFailed):
    """A compilation job has the derived name but other inputs: ``differences`` lists them."""

    def __init__(self, name: str, differences: Iterable[str]) -> None:
        self.differences = tuple(differences)
        super().__init__(
            f"compilation job {name} exists with other inputs: {'; '.join(self.differences)}",
            name=name,
            remedy="Delete it with `aws sagemaker delete-compilation-job`, then compile again.",
        )


class QuotaReached(TargetFailed):
    """The account's quota of concurrent compilation jobs has no free slot."""


class RunCancelled(TargetFailed):
    """A person cancelled the run before this target ended."""

    def __init__(self, found: str = "the run was cancelled") -> None:
        super().__init__(found)


class PublishingRejected(TargetFailed):
    """A person rejected publishing the components."""


class PublishFailed(TargetFailed):
    """AWS IoT Greengrass refused the component version, or it ended FAILED."""


class ComponentTaken(TargetFailed):
    """The component belongs to another model, because both models' names give the same component name.

    ``model`` and ``use_case`` were to be published; ``other_model`` and ``other_use_case`` own the existing
    ``version``, None if its tags do not say. ``base`` is the component's name without its target.
    """

    def __init__(
        self,
        component: str,
        version: str,
        *,
        base: str,
        model: str,
        use_case: str,
        other_model: str | None,
        other_use_case: str | None,
    ) -> None:
        self.component, self.version, self.base = component, version, base
        self.model, self.use_case = model, use_case
        self.other_model, self.other_use_case = other_model, other_use_case
        whose = f"model {other_model!r}" if other_model else "another model"
        where = f" of use case {other_use_case!r}" if other_use_case else ""
        super().__init__(
            f"component {component} {version} belongs to {whose}{where}; model {model!r} of use case {use_case!r} "
            f"has the same component name",
            name=component,
            remedy=f"Give this model its own component_name, or set component_name to {base!r} if both are to share "
            f"the component.",
        )


class StepTimedOut(TargetFailed):
    """A step took longer than its time limit of ``limit`` seconds."""

    def __init__(
        self,
        found: str,
        *,
        name: str = "",
        limit: float | None = None,
        reason: str | None = None,
        **facts: Unpack[Facts],
    ) -> None:
        self.limit = limit
        super().__init__(found, name=name, reason=reason, **facts)


def _one_of(names: Iterable[str]) -> str:
    return f"one of {', '.join(names)}"
