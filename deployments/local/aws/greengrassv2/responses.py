"""The operations of AWS IoT Greengrass V2, for moto's dispatcher."""

from deployments.local.aws.greengrassv2.component_operations import ComponentOperations
from deployments.local.aws.greengrassv2.device_operations import DeviceOperations


class GreengrassV2(ComponentOperations, DeviceOperations):
    """Every operation of the service, one method each."""
