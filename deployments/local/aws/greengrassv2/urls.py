"""The URLs of AWS IoT Greengrass V2. moto's server needs named groups: with a bare ``.*`` it answers 404."""

from deployments.local.aws.greengrassv2.responses import GreengrassV2

HOST = r"https?://greengrass\.(.+)\.amazonaws\.com(?:\.cn)?"

url_bases = [HOST]

url_paths = {
    "{0}/greengrass/v2/(?P<rest>.+)$": GreengrassV2.dispatch,
    "{0}/greengrass/servicerole$": GreengrassV2.dispatch,
    "{0}/greengrass/things/(?P<thing>[^/]+)/connectivityInfo$": GreengrassV2.dispatch,
    "{0}/tags/(?P<resource_arn>.+)$": GreengrassV2.dispatch,
}
