from __future__ import annotations

import pytest

from dda_core.aws.principals import principal_of

ROLE = "arn:aws:iam::123456789012:role/DDA"


@pytest.mark.parametrize(
    ("caller", "role", "principal"),
    [
        ("arn:aws:sts::123456789012:assumed-role/DDA/session", None, ROLE),
        (
            "arn:aws:sts::123456789012:assumed-role/DDA/dda-pipeline",
            "arn:aws:iam::123456789012:role/factory/DDA",
            "arn:aws:iam::123456789012:role/factory/DDA",
        ),
        ("arn:aws:sts::123456789012:assumed-role/DDA/x", "arn:aws:iam::123456789012:role/factory/Other", ROLE),
        ("arn:aws-cn:sts::123456789012:assumed-role/DDA/x", None, "arn:aws-cn:iam::123456789012:role/DDA"),
        ("arn:aws:iam::123456789012:user/mary", None, "arn:aws:iam::123456789012:user/mary"),
        ("arn:aws:iam::123456789012:root", None, "arn:aws:iam::123456789012:root"),
    ],
)
def test_the_principal_behind_a_caller(caller: str, role: str | None, principal: str):
    assert principal_of(caller, role) == principal
