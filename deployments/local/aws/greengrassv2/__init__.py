"""An emulator of AWS IoT Greengrass V2 for moto, which has none.

It is registered as moto's service ``greengrassv2`` (see :mod:`deployments.local.aws.moto_patches`) and then works in
``mock_aws`` and in moto's server alike.
"""

from deployments.local.aws.greengrassv2.models import greengrassv2_backends

__all__ = ["greengrassv2_backends"]
