"""Every error of the DDA Pipeline, one class per cause.

::

    DdaError                          exit code 1
    ├── UsageError                    exit code 2: the caller asked for something that is not there
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
    │       └── EmulatorMissing
    ├── AwsCallFailed                 exit code 4: AWS answered with an error, or not at all
    │   ├── StackFailed
    │   └── ObjectChanged
    ├── InputRefused                  exit code 1: an archive or training job that cannot become a component
    │   ├── TrainingJobMissing
    │   ├── TrainingJobNotCompleted
    │   ├── ArchiveBroken
    │   ├── ArchiveHostile
    │   ├── ModelFileMissing
    │   ├── ModelFileAmbiguous
    │   ├── ModelFileInvalid
    │   ├── ModelDescriptionInvalid
    │   ├── ShapeMismatch
    │   ├── DeviceWouldRefuse
    │   │   └── CompiledModelUnusable
    │   ├── PackageTooLarge
    │   ├── UnpackedTooLarge
    │   └── RecipeInvalid
    ├── SecretWithheld                exit code 1: another library's error, whose text held a secret
    ├── Interrupted                   exit code 130: a person or a signal stopped the work
    └── TargetFailed                  exit code 1: one target came to an end that is not DEPLOYABLE
        ├── CompilationFailed
        ├── CompilationStopped
        ├── CompilationMismatch
        ├── QuotaReached
        ├── RunCancelled
        ├── PublishingRejected
        ├── PublishFailed
        ├── ComponentTaken
        └── StepTimedOut

Every message says what was found, where, what was expected, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pathlib import Path

    from dda_core.device.findings import DeviceFinding


class DdaError(Exception):
    """The base of every error that a user can act on. ``exit_code`` is what the command line ends with."""

    exit_code: ClassVar[int] = 1


class UsageError(DdaError):
    """The caller asked for something that is not there."""

    exit_code = 2


class UnknownTarget(UsageError):
    """A target's name is in no row of the table of targets."""

    def __init__(self, name: str, known: Iterable[str], where: str = "") -> None:
        self.name = name
        super().__init__(f"unknown target {name!r}{where}; known targets: {', '.join(known)}")


class TargetUnavailable(UsageError):
    """A target is known, and nothing can be compiled for it: not at all yet, or not for this fleet."""

    def __init__(self, target: str, reason: str, remedy: str) -> None:
        self.target = target
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"target {target!r} is not available: {reason}. {remedy}")


class UnknownFleet(UsageError):
    """No preset of fleets has that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(f"unknown fleet {name!r}; known fleets: {', '.join(self.known)}")


class RunParametersRefused(UsageError):
    """A deployment's schema does not allow the parameters of a run."""


class FlowRunMissing(UsageError):
    """The Prefect server knows no such flow run."""


class InvalidName(UsageError):
    """A name cannot be used for the AWS resource that it should name."""


class ArtifactMissing(UsageError):
    """No run has made what was asked for, or a later one has it still to make."""


class ComponentMissing(UsageError):
    """AWS IoT Greengrass has no such component or version, or it is no model component."""


class InvalidEvent(UsageError):
    """A file or message is not the event of a completed training job."""


class NothingToDecide(UsageError):
    """No run of a training job waits for approval, or it is not clear which one is meant."""


class FileMissing(UsageError):
    """A file that the caller named is not there, or is not a file."""


class NoPlainFile(UsageError):
    """Something else than a plain file is where a file should be written; ``kind`` tells what."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path, kind
        super().__init__(
            f"{path} is {kind}, and stays as it is: a plain file or a new name was expected. Give another name."
        )


class ConfigurationError(DdaError):
    """Settings, a use case or credentials are missing or wrong."""

    exit_code = 3


class InvalidUseCase(ConfigurationError):
    """A use case's file or block lacks a field or has a wrong one."""


class UnknownUseCase(ConfigurationError):
    """No use case is registered under that name."""


class InvalidSettings(ConfigurationError):
    """A ``DDA_`` setting has a value that cannot be used."""


class InvalidCatalogue(ConfigurationError):
    """A data file (targets, fleets, failures; a use case's own targets) does not pass its checks."""


class YamlRefused(ConfigurationError):
    """A text is no YAML, or such as nobody writes by hand. ``line`` and ``column`` count from 1; None where unknown."""

    def __init__(self, problem: str, line: int | None = None, column: int | None = None) -> None:
        self.problem, self.line, self.column = problem, line, column
        super().__init__(problem if line is None else f"line {line}, column {column}: {problem}")


class MissingCredentials(ConfigurationError):
    """The default credential chain found no AWS credentials."""


class RoleNotAssumable(ConfigurationError):
    """AssumeRole was refused: the role, its trust policy or the external id is wrong."""

    def __init__(self, found: str, remedy: str) -> None:
        self.found = found
        self.remedy = remedy
        super().__init__(f"{found}. {remedy}")


class AccessRefused(ConfigurationError):
    """The caller or the SageMaker role cannot reach what a run needs; ``problems`` lists each, with its remedy."""

    def __init__(self, use_case: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"access check of use case {use_case!r}: " + " ".join(self.problems))


class PrefectUnreachable(ConfigurationError):
    """No Prefect server answers where ``PREFECT_API_URL`` points, or it refuses the caller."""


class WebhookRefused(ConfigurationError):
    """EventBridge cannot call the Prefect server as it is: not by https, or without a password."""


class ApprovalImpossible(ConfigurationError):
    """A use case asks for approval, and the run cannot be suspended."""


class LocalStackError(ConfigurationError):
    """The local stack is not there, or did not come up."""


class EmulatorMissing(LocalStackError):
    """The packages of the local AWS are not installed: a production worker does without them."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.remedy = "Install the extra `local`: pip install '.[local]' in the project's folder, or 'WHEEL[local]'."
        super().__init__(f"the local AWS needs the package {package}, which is not installed. {self.remedy}")


class AwsCallFailed(DdaError):
    """AWS answered with an error that no retry of botocore mended."""

    exit_code = 4


class StackFailed(AwsCallFailed):
    """CloudFormation could not create, change or delete a stack."""


class ObjectChanged(AwsCallFailed):
    """An S3 object was replaced while it was read."""


class InputRefused(DdaError):
    """A training job or an archive cannot become a component that devices accept."""


class TrainingJobMissing(InputRefused):
    """No training job of that name is in the use case's account and Region."""


class TrainingJobNotCompleted(InputRefused):
    """The training job's status is not Completed."""


class ArchiveBroken(InputRefused):
    """An archive is empty, cut short or damaged, or is not a gzip tar."""


class ArchiveHostile(InputRefused):
    """An archive holds a member that must not be unpacked: a link, a device, a climbing or duplicate name."""


class ModelFileMissing(InputRefused):
    """The trained archive lacks a file that the manifest needs."""


class ModelFileAmbiguous(InputRefused):
    """The trained archive holds several different TorchScript files at the same place."""


class ModelFileInvalid(InputRefused):
    """The model file is no TorchScript file. ``kind`` tells what it is instead, where that can be told."""

    def __init__(self, file: str, where: str, kind: str | None) -> None:
        self.file, self.where, self.kind = file, where, kind
        is_instead = f", but {kind}" if kind else ""
        super().__init__(
            f"{file} in {where} is no TorchScript file{is_instead}. A ZIP as torch.jit.save writes it was expected: "
            f"export the model again."
        )


class ModelDescriptionInvalid(InputRefused):
    """``mochi.json``, ``config.yaml`` or ``export_artifacts/manifest.json`` cannot be read or lacks a key."""


class ShapeMismatch(InputRefused):
    """The three descriptions of the input shape disagree, or the shape is not one the pipeline compiles."""


class DeviceWouldRefuse(InputRefused):
    """A manifest or package breaks rules of the device; ``findings`` lists every one, ``where`` names the archive."""

    what: ClassVar[str] = "a device could not run it"

    def __init__(self, where: str, findings: Iterable[DeviceFinding]) -> None:
        self.where = where
        self.findings = tuple(findings)
        super().__init__(f"{where}: {self.what}: {' '.join(map(str, self.findings))}")


class CompiledModelUnusable(DeviceWouldRefuse):
    """SageMaker Neo's archive is not one that the loader on the device can load."""

    what = "a device could not load what was compiled"


class PackageTooLarge(InputRefused):
    """A package grows over what AWS IoT Greengrass takes."""

    def __init__(self, where: str, limit: int) -> None:
        self.limit = limit
        super().__init__(
            f"{where}: the package is over {limit} bytes, the most that AWS IoT Greengrass takes. Compile a smaller "
            f"model."
        )


class UnpackedTooLarge(InputRefused):
    """A package would unpack to more than a device should have to hold."""

    def __init__(self, where: str, limit: int) -> None:
        self.where, self.limit = where, limit
        super().__init__(
            f"{where}: its files have over {limit} bytes unpacked, the most that a package may hold. Compile a smaller "
            f"model, or remove what is no part of it."
        )


class RecipeInvalid(InputRefused):
    """A component's name, version or recipe breaks a rule of AWS IoT Greengrass."""


class SecretWithheld(DdaError):
    """Stands for an error of another library, of class ``kind``, that keeps a secret where it cannot be masked.

    ``text`` is what that error said, masked.
    """

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text
        super().__init__(f"{kind}: {text}")


class Interrupted(DdaError):
    """The work was stopped on request."""

    exit_code = 130

    def __init__(self, message: str = "the work was stopped on request") -> None:
        super().__init__(message)


class TargetFailed(DdaError):
    """One target came to an end that is not DEPLOYABLE. ``reason`` is the text as AWS gave it."""

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        self.reason = reason or message
        super().__init__(message)


class CompilationFailed(TargetFailed):
    """A compilation job ended FAILED, and its retry class or the number of attempts allows no further one."""


class CompilationStopped(TargetFailed):
    """A compilation job was stopped, by a person or by its time limit: ``time_limit_reached`` tells which."""

    def __init__(self, message: str, *, reason: str | None = None, time_limit_reached: bool = False) -> None:
        self.time_limit_reached = time_limit_reached
        super().__init__(message, reason=reason)


class CompilationMismatch(TargetFailed):
    """A compilation job has the name we derive but was made from other inputs."""


class QuotaReached(TargetFailed):
    """The account's quota of compilation jobs has no free slot."""


class RunCancelled(TargetFailed):
    """A person cancelled the run before this target came to its end."""


class PublishingRejected(TargetFailed):
    """A person decided that the components are not published."""


class PublishFailed(TargetFailed):
    """AWS IoT Greengrass refused the component version, or it ended FAILED."""


class ComponentTaken(TargetFailed):
    """The component of that name is another model's: two names that give one component's name.

    ``model`` and ``use_case`` tell what was to be published, ``other_model`` and ``other_use_case`` whose the
    existing ``version`` is; None where its tags do not say. ``base`` is the component's name without its target.
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
            f"component {component} {version} is of {whose}{where}; model {model!r} of use case {use_case!r} has the "
            f"same component name. Give this model another one with component_name, or give component_name {base!r} "
            f"if both are to share the component."
        )


class StepTimedOut(TargetFailed):
    """A step took longer than its time limit."""
