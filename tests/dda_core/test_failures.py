import inspect
from pathlib import Path

import pytest
import yaml
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)

from dda_core import exceptions
from dda_core.aws import responses
from dda_core.exceptions import (
    AwsCallFailed,
    CompilationFailed,
    CompilationStopped,
    DdaError,
    DeviceWouldRefuse,
    InvalidCatalogue,
    ModelFileMissing,
    PublishFailed,
    QuotaReached,
    StepTimedOut,
    TargetFailed,
)
from dda_core.failures import CATALOGUE, CatalogueRow, catalogue, explain, guidance_for, read_catalogue

ROLE = "arn:aws:sts::123456789012:assumed-role/x/y"

# What the services say, in full, and the retry class of each.
NEO = [
    ("ClientError: InputConfiguration: S3 object does not exist. Bucket: b, Key: m.tar.gz", "never"),
    ("ClientError: The bucket b is in region eu-west-1 which is different from AWS Sagemaker service region", "never"),
    (
        "ClientError: InputConfiguration: Unable to untar input model. Please confirm the model is a tar.gz file",
        "never",
    ),
    ("ClientError: InputConfiguration: Unable to find input archive", "never"),
    ("ClientError: InputConfiguration: No model file found.", "never"),
    ("ClientError: InputConfiguration: Cannot load DataInputConfig. Incorrect json format", "never"),
    ("ClientError: InputConfiguration: DataInputConfig is not dictionary or list", "never"),
    ("ClientError: We are unable to extract DataInputConfig from the model. Please provide it", "never"),
    ("ClientError: InputConfiguration: No pth file found for PyTorch model. Please make sure it is there", "never"),
    ("ClientError: InputConfiguration: Exactly one .pth file is allowed for PyTorch models.", "never"),
    ("ClientError: InputConfiguration: Framework cannot load PyTorch model. invalid load key", "never"),
    ("ClientError: ModuleNotFoundError: No module named '__torch__'", "never"),
    (
        "ClientError: InputConfiguration: TVM cannot convert the PyTorch model. Invalid model or input-shape mismatch",
        "never",
    ),
    ("ClientError: InputConfiguration: Invalid PyTorch model or input-shape mismatch.", "never"),
    ("ClientError: OperatorNotImplemented:('The following operators are not implemented: [aten::x]')", "never"),
    ("ClientError: OperatorAttributeNotImplemented: attribute x", "never"),
    ("ClientError: OperatorAttributeRequired: attribute x", "never"),
    ("ClientError: OperatorAttributeValueNotValid: attribute x", "never"),
    ("ClientError: CompilationError: Unable to compile model for LINUX_ARM64_NVIDIA", "never"),
    (
        "ClientError: InputConfiguration: Input input has wrong shape in Input Shape dictionary. "
        "Input shapes should be provided in NCHW format.",
        "never",
    ),
    ("ClientError: InputConfiguration: Input input has wrong batch size in Input Shape dictionary.", "never"),
    ("ClientError: Unsupported framework version field for target LINUX_X86_64", "never"),
    ("ValidationException: 1 error: Member must have length less than or equal to 63", "never"),
    ("ValidationException: must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", "never"),
    (f"AccessDeniedException: User: {ROLE} is not authorized to perform: sts:AssumeRole on resource: r", "never"),
    (f"AccessDeniedException: User: {ROLE} is not authorized to perform: iam:PassRole on resource: r", "never"),
    ("ValidationException: Could not assume role arn:aws:iam::123456789012:role/x. Ensure that it exists", "never"),
    ("ClientError: An error occurred (403) when calling the HeadObject operation: Forbidden", "never"),
    ("ClientError: An error occurred (400) when calling the HeadObject operation: Bad Request", "never"),
    (f"ClientError: {ROLE} is not authorized to perform: s3:ListBucket on resource: arn:aws:s3:::b", "never"),
    (
        "ServerError: There was an internal server error during the compilation job, please try again. "
        "If the problem persists, contact support.",
        "backoff",
    ),
    ("CapacityError: Unable to provision requested compute capacity", "backoff"),
    ("We currently have insufficient capacity for the job", "backoff"),
    ("ResourceLimitExceeded: The account-level service limit is 5 Instances", "quota"),
    ("ResourceInUse: Compilation job already exists", "reconcile"),
    ("ThrottlingException: Rate exceeded", "backoff"),
    ("Rate exceeded", "backoff"),
    ("ResourceNotFound: Requested resource not found.", "reconcile"),
    ("STOPPED", "reconcile"),
    ("status STOPPED", "reconcile"),
    ("Stopped: MaxRuntimeInSeconds was reached", "reconcile"),
    ('ClientError: {"cuda-ver": "12.2"} cannot be used', "never"),
    ("cuda-ver 12.1 is over SageMaker Neo's ceiling of 11.x", "never"),
    ("OSError: libcudart.so.10.2: cannot open shared object file", "never"),
    ("ClientError: something that nobody has seen", "never"),
    ("ServerError: something that nobody has seen", "backoff"),
    ("An error occurred (503) when calling the DescribeCompilationJob operation", "backoff"),
]

GREENGRASS = [
    ("ConflictException: Component [model-x : 1.0.0] for account [123456789012] already exists", "reconcile"),
    (
        "ValidationException: Specified artifact resource cannot be accessed for the following artifact URI: s3://b/k",
        "never",
    ),
    (f"AccessDeniedException: User: {ROLE} is not authorized to perform: null on resource: null", "never"),
    (f"AccessDeniedException: User: {ROLE} is not authorized to perform: greengrass:CreateComponentVersion", "never"),
    ("RequestAlreadyInProgressException: still running", "backoff"),
    ("ThrottlingException: Too Many Requests", "backoff"),
    ("ServiceQuotaExceededException: too many versions", "never"),
    ("InternalServerException: oops", "backoff"),
    ("the component version is FAILED and AWS gave no reason", "never"),
    ("vendor guidance DISCONTINUED: do not use this version", "never"),
    ("vendor guidance DELETED: do not use this version", "never"),
    ("ARTIFACT_CHECKSUM_MISMATCH: Integrity check failed", "never"),
    ("Failed to determine S3 bucket location: S3 403 Forbidden", "never"),
]

ANY_SERVICE = [
    ("RequestTimeTooSkewed: The difference between the request time and the current time is too large.", "never"),
    ("InvalidSignatureException: Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z", "never"),
    ("SignatureDoesNotMatch: Signature not yet current: 20260101T001000Z is still later than", "never"),
    ("InvalidSignatureException: The request signature we calculated does not match", "never"),
    ("ExpiredToken: The provided token has expired.", "never"),
    ("RegionDisabledException: STS is not activated in this region for account:123456789012.", "never"),
    ("PackedPolicyTooLarge: the packed size of session policies and tags exceeds the limit", "never"),
    ("NoSuchEntity: The role with name x cannot be found.", "never"),
    ("InvalidObjectState: The operation is not valid for the object's storage class", "never"),
    ("EncryptionTypeMismatch: the encryption type differs", "never"),
    ("InvalidParameterException: 1 validation error detected", "never"),
    ("ConditionalRequestConflict: A conflicting operation occurred during this request", "backoff"),
    ("NoSuchUpload: The specified upload does not exist.", "backoff"),
    ("InternalError: We encountered an internal error. Please try again.", "backoff"),
    ("ServiceUnavailableException: The service cannot complete the request.", "backoff"),
]


@pytest.mark.parametrize(("text", "retry"), ANY_SERVICE)
def test_what_every_service_can_say_is_explained_by_a_row_of_its_own(text, retry):
    found = explain(text)
    assert (found.retry, found.fallback) == (retry, False)


def test_a_clock_that_is_wrong_is_not_taken_for_wrong_credentials():
    assert "clock" in explain("SignatureDoesNotMatch: Signature expired: x is now earlier than y").cause
    assert "clock" not in explain("SignatureDoesNotMatch: The request signature we calculated does not match").cause


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_status_without_a_body_is_a_fault_of_the_service(status):
    answer = {"Error": {"Code": str(status), "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    found = guidance_for(ClientError(answer, "DescribeCompilationJob"))
    assert (found.retry, found.fallback) == ("backoff", False)


@pytest.mark.parametrize(("text", "retry"), NEO + GREENGRASS)
def test_what_the_services_say_is_explained(text, retry):
    found = explain(text)
    assert found.retry == retry
    assert found.cause
    assert found.remedy
    assert found.source


@pytest.mark.parametrize(("text", "retry"), NEO)
def test_service_neo_answers_the_same(text, retry):
    assert explain(text, service="neo") == explain(text)


@pytest.mark.parametrize(("text", "retry"), GREENGRASS)
def test_service_greengrass_answers_the_same(text, retry):
    assert explain(text, service="greengrass") == explain(text)


@pytest.mark.parametrize(
    ("text", "service"), [(text, "neo") for text, _ in NEO[:-3]] + [(text, "greengrass") for text, _ in GREENGRASS]
)
def test_what_is_documented_is_no_fallback(text, service):
    assert explain(text, service=service).fallback == (text in ("STOPPED", "status STOPPED"))


@pytest.mark.parametrize("row", catalogue().rows, ids=lambda row: row.match[0][0][:40] or "last resort")
def test_every_row_is_found_by_each_of_its_matches(row):
    for fragments in row.match:
        found = explain(" ... ".join(fragments), service=row.service)
        assert (found.cause, found.retry) == (row.cause, row.retry), fragments


def test_the_specific_beats_the_general():
    denied = f"AccessDeniedException: User: {ROLE} is not authorized to perform: "
    assert "malformed" in explain(denied + "null on resource: null").cause
    assert "execution role" in explain(denied + "iam:PassRole on resource: r").cause
    assert "trust policy" in explain(denied + "sts:AssumeRole on resource: r").cause
    assert "S3 denied" in explain(denied + "s3:GetObject on resource: r").cause
    assert "IAM permission" in explain(denied + "sagemaker:CreateCompilationJob on resource: r").cause


def test_all_fragments_of_a_match_must_appear():
    assert "another Region" in explain("bucket b is in region x, different from AWS Sagemaker service region").cause
    assert explain("bucket b is in region x").fallback


def test_capitals_and_line_breaks_do_not_matter():
    assert explain("clienterror: inputconfiguration:\n  no MODEL\tfile found.").match == ("No model file found.",)


def test_a_status_in_capitals_is_not_prose():
    assert explain("STOPPED").retry == "reconcile"
    assert explain("the pump stopped").retry == "never"
    assert explain("STOPPEDX").retry == "never"


def test_an_account_or_package_number_is_no_status_code():
    assert explain("s3://bucket/model_artifacts/model-403400503000/x.zip: bad magic", service="greengrass").fallback


def test_a_service_does_not_see_the_others_texts():
    assert not explain("No model file found.", service="neo").fallback
    assert explain("No model file found.", service="greengrass").fallback


def test_the_last_resort_says_to_read_the_log():
    for text in ("", "\0", "nobody knows"):
        found = explain(text)
        assert found.fallback
        assert found.retry == "never"
        assert found.match == ()
        assert "log" in found.remedy


def client_error(code, message="", status=400):
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, "X"
    )


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (client_error("ThrottlingException", "Rate exceeded"), "backoff"),
        (client_error("Odd", "odd", 429), "backoff"),
        (client_error("Odd", "odd", 500), "backoff"),
        (client_error("Odd", "odd", 503), "backoff"),
        (client_error("Odd", "odd", 400), "never"),
        (client_error("500", "Internal Server Error", 500), "backoff"),
        (client_error("403", "Forbidden", 403), "never"),
        (client_error("AccessDenied", "Access Denied", 403), "never"),
        (client_error("ExpiredToken", "The security token included in the request is expired", 403), "never"),
        (client_error("ResourceLimitExceeded", "The account-level service limit is 1"), "quota"),
        (client_error("ResourceInUse", "exists"), "reconcile"),
        (client_error("ConflictException", "already exists", 409), "reconcile"),
        (ClientError({}, "X"), "never"),
        (EndpointConnectionError(endpoint_url="https://x"), "backoff"),
        (ConnectTimeoutError(endpoint_url="https://x"), "backoff"),
        (ReadTimeoutError(endpoint_url="https://x"), "backoff"),
        (TimeoutError(), "backoff"),
        (ConnectionResetError(104, "Connection reset by peer"), "backoff"),
        (NoCredentialsError(), "never"),
        (ParamValidationError(report="Missing required parameter"), "never"),
        (TargetFailed("t", reason="ServerError: oops"), "backoff"),
        (CompilationFailed("t", reason="ServerError: oops"), "backoff"),
        (CompilationFailed("t", reason="no reason was given"), "never"),
        (CompilationStopped("t", reason="ServerError: oops"), "reconcile"),
        (PublishFailed("t", reason="ThrottlingException: Rate exceeded"), "backoff"),
        (PublishFailed("t", reason="s3://b/k: nobody knows"), "never"),
        (QuotaReached("t", reason="ResourceLimitExceeded: 1"), "quota"),
        (StepTimedOut("publishing took longer than its limit of 5 s."), "reconcile"),
        (KeyError("x"), "never"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_exceptions_are_explained(error, retry):
    assert guidance_for(error).retry == retry


def test_a_publish_that_failed_for_an_unknown_reason_is_explained_as_such():
    assert "could not create the component version" in guidance_for(PublishFailed("t", reason="nobody knows")).cause


def test_a_wrapped_aws_error_is_explained_by_its_cause():
    for inner, retry in (
        (client_error("403", "Forbidden", 403), "never"),
        (ReadTimeoutError(endpoint_url="x"), "backoff"),
    ):
        outer = AwsCallFailed("s3://b/k: s3:GetObject failed")
        outer.__cause__ = inner
        assert guidance_for(outer) == guidance_for(inner)
        assert guidance_for(outer).retry == retry


def test_a_failed_target_is_explained_by_the_reason_of_aws():
    error = CompilationFailed("compilation job j failed", reason="ClientError: No model file found.")
    assert guidance_for(error) == explain("ClientError: No model file found.", service="neo")


def test_a_refused_input_is_explained_by_its_class_whatever_its_text_holds():
    error = DeviceWouldRefuse("s3://b/ServerError/STOPPED.tar.gz", [])
    assert guidance_for(error).retry == "never"
    assert "devices" in guidance_for(error).cause


def test_a_refusal_is_explained_from_its_text_too():
    for error in (
        DeviceWouldRefuse("model.tar.gz", []),
        StepTimedOut("packaging took longer than its limit of 1 s."),
    ):
        assert explain(str(error)).cause == guidance_for(error).cause


def test_the_catalogue_knows_only_exceptions_that_exist():
    import asyncio
    import builtins

    import botocore.exceptions

    named = {name for row in catalogue().rows for name in row.errors}
    places = (exceptions, responses, botocore.exceptions, builtins, asyncio)
    for name in named:
        assert any(hasattr(place, name) for place in places), name


def test_every_kind_of_refusal_and_of_misconfiguration_has_a_row_of_its_own():
    kinds = [
        kind
        for kind in vars(exceptions).values()
        if inspect.isclass(kind) and issubclass(kind, (exceptions.InputRefused, exceptions.ConfigurationError))
    ]
    assert ModelFileMissing in kinds
    for kind in kinds:
        error = kind.__new__(kind)
        DdaError.__init__(error, "x")
        assert not guidance_for(error).fallback, kind


ROW = {
    "match": ["a text"],
    "cause": "Something happened.",
    "remedy": "Do something now.",
    "retry": "never",
    "source": "a guide",
}
LAST = {**ROW, "match": [""], "fallback": True}


def write(path: Path, rows) -> Path:
    path.write_text(yaml.safe_dump(rows))
    return path


def test_a_catalogue_of_ones_own(tmp_path):
    rows = [
        {**ROW, "match": ["a text", ["one", "two"]]},
        {**ROW, "match": ["a text that is longer"], "retry": "quota"},
        LAST,
    ]
    own = read_catalogue(write(tmp_path / "own.yaml", rows))
    assert own.explain("here is a text").match == ("a text",)
    assert own.explain("two before one").match == ("one", "two")
    assert own.explain("a text that is longer than that").retry == "quota"
    assert own.explain("else").fallback


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{**ROW, "retry": "sometimes"}, LAST], "row 1 (['a text']): retry"),
        ([{**ROW, "match": []}, LAST], "row 1"),
        ([{**ROW, "match": [[]]}, LAST], "row 1"),
        ([{**ROW, "cause": "no sentence"}, LAST], "cause"),
        ([{**ROW, "remedi": "x"}, LAST], "remedi"),
        ([{key: value for key, value in ROW.items() if key != "source"}, LAST], "source"),
        ([ROW, LAST, ROW], "row 3 (('a text',)): row 1 has the same match"),
        ([{**ROW, "errors": ["KeyError"]}, {**LAST, "errors": ["KeyError"]}], "row 2"),
        ([ROW], "no last resort"),
        ([], "no last resort"),
        (["a text"], "row 1"),
        ({"match": "x"}, "a list of rows"),
    ],
)
def test_a_broken_catalogue_is_refused_with_file_and_row(tmp_path, rows, said):
    path = write(tmp_path / "failures.yaml", rows)
    with pytest.raises(InvalidCatalogue) as refused:
        read_catalogue(path)
    assert str(path) in str(refused.value)
    assert said in str(refused.value)


def test_a_missing_or_unreadable_catalogue_is_refused(tmp_path):
    with pytest.raises(InvalidCatalogue, match=r"nowhere\.yaml"):
        read_catalogue(tmp_path / "nowhere.yaml")
    (tmp_path / "bad.yaml").write_text("- match: [")
    with pytest.raises(InvalidCatalogue, match=r"bad\.yaml"):
        read_catalogue(tmp_path / "bad.yaml")


def test_rows_are_frozen():
    row = CatalogueRow.model_validate(ROW)
    with pytest.raises(ValueError, match="frozen"):
        row.cause = "Another."


def test_sentences_are_for_an_operator():
    for row in yaml.safe_load(CATALOGUE.read_text()):
        for part in ("cause", "remedy"):
            assert row[part][0].isupper(), row[part]
            assert len(row[part].split()) >= 5, row[part]
