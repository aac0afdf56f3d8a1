"""Client of the Monasca API version 2.0 for the collector and the fetcher.

Source: https://github.com/openstack/monasca-api/blob/master/docs/monasca-api-spec.md
"""

from oslo_config import cfg

from cloudkitty.clients import keystone, openstack

OPTS = [
    cfg.StrOpt(
        'monasca_service_name',
        default='monasca',
        help='Name of the service, of type `monitoring`, in the catalog of Keystone.',
    ),
    cfg.StrOpt(
        'interface',
        default='internal',
        choices=['internal', 'public', 'admin'],
        help='Kind of endpoint to use.',
    ),
    cfg.StrOpt('region_name', help='Region whose endpoint to use; without it, any.'),
    *keystone.OPTS,
]

# Characters that are not allowed in names and values of dimensions, or that have a meaning in a
# dimension filter.
SPECIAL = frozenset('><={}()\'",;&|\\:')


def build_client(name: str, conf: cfg.ConfigOpts, group: str) -> openstack.Client:
    """Return a client for the section *group*, in which OPTS are registered; no I/O.

    :param name: name of the driver.
    :raises ConfigurationError: see keystone.load_session().
    """
    options = conf[group]
    return openstack.Client(
        name,
        keystone.load_session(conf, group),
        version='v2.0',
        service_type='monitoring',
        service_name=options.monasca_service_name,
        interface=options.interface,
        region_name=options.region_name,
    )


def is_plain(text: str) -> bool:
    """Return whether *text* can be used literally in a dimension filter."""
    return bool(text) and SPECIAL.isdisjoint(text) and text == text.strip()
