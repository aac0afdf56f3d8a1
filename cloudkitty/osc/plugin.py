"""Interface of a plug-in of the OpenStack client; the commands are entry points of COMMANDS."""

import argparse
from typing import Any

from cloudkitty.osc.client import Client

# Beside `rating`, which is that of python-cloudkittyclient.
API_NAME = 'rating_billing'
API_VERSION_OPTION = 'os_rating_billing_api_version'
API_VERSIONS = ('2',)
DEFAULT_API_VERSION = '2'
COMMANDS = f'openstack.{API_NAME}.v2'
SERVICE_TYPE = 'rating'


def make_client(instance: Any) -> Client:
    """Return the client for the cloud and user that the OpenStack client was called with."""
    endpoint = instance.get_endpoint_for_service_type(
        SERVICE_TYPE, region_name=instance.region_name, interface=instance.interface
    )
    return Client(instance.session, endpoint)


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Return *parser*: there are no options of all commands."""
    return parser
