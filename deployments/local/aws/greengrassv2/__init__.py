"""An emulator of AWS IoT Greengrass V2, which moto lacks.

:mod:`deployments.local.aws.moto_patches` registers it as moto's service ``greengrassv2``, for ``mock_aws`` and for
moto's server.
"""

from deployments.local.aws.greengrassv2.models import greengrassv2_backends

__all__ = ["greengrassv2_backends"]
