"""Services of FOCUS, by metric."""

import re
from typing import NamedTuple


class Service(NamedTuple):
    """Where a metric belongs, in values that FOCUS allows."""

    category: str
    subcategory: str
    name: str
    resource_type: str


# The first pattern that is found in the name of a metric.
_SERVICES = (
    ('object|swift|rgw|bucket', Service('Storage', 'Object Storage', 'Object storage', 'Bucket')),
    ('share|manila', Service('Storage', 'File Storage', 'Shared file systems', 'Share')),
    ('backup', Service('Storage', 'Backup Storage', 'Backups', 'Backup')),
    ('volume|snapshot|cinder', Service('Storage', 'Block Storage', 'Block storage', 'Volume')),
    ('image|glance', Service('Storage', 'Other (Storage)', 'Images', 'Image')),
    (
        'loadbalancer|load_balancer|octavia',
        Service('Networking', 'Application Networking', 'Load balancing', 'Load balancer'),
    ),
    (
        r'\bip\b|floating|network|bandwidth|router|port|vpn',
        Service('Networking', 'Other (Networking)', 'Networking', 'Network resource'),
    ),
    (
        'instance|cpu|memory|ram|compute|gpu|nova|disk',
        Service('Compute', 'Virtual Machines', 'Instances', 'Instance'),
    ),
    (
        'pod|namespace|container|cluster|magnum',
        Service('Compute', 'Containers', 'Containers', 'Container'),
    ),
    ('db|database|trove', Service('Databases', 'Other (Databases)', 'Databases', 'Database')),
)
OTHER = Service('Other', 'Other (Other)', 'Other', 'Resource')
BILLING = Service('Other', 'Other (Other)', 'Billing', '')


def of_metric(metric: str | None) -> Service:
    """Return the service of a metric; None: what is no usage."""
    if metric is None:
        return BILLING
    return next(
        (service for pattern, service in _SERVICES if re.search(pattern, metric.lower())), OTHER
    )
