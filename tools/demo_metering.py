"""What the agent measures of this machine, and how that is rated."""

import secrets

INTERVAL_S = 2
# How the processor takes what comes over the message bus; there is nobody to wait for.
DRIVERS = """\
[fetcher]
backend = metering

[metering]
workers = 1
secrets = {secret}

[listener]
topics =

[agent]
interval = {interval_s}
hypervisor = none
spool_folder = {folder}/spool

[pollster_machine]
scope_id = {scope}

[collect]
collector = metering
wait_periods = 2
lag_max = 0
"""

METRICS = {
    'metrics': {
        'machine.cpu': {
            'alt_name': 'cpu',
            'unit': 'core-h',
            'description': 'Time of processors, by what they do',
            'factor': '1/3600',
            'groupby': ['cpu', 'mode'],
            'skip_datapoints_expression': "datapoint['groupby']['mode'] == 'idle'",
            'extra_args': {'kind': 'cumulative'},
        },
        'machine.memory': {
            'alt_name': 'memory',
            'unit': 'GiB-h',
            'description': 'Memory in use',
            'factor': f'1/{2**30}',
            'extra_args': {'kind': 'gauge', 'per': 'hour', 'hold': 30},
        },
        'machine.disk': {
            'alt_name': 'disk',
            'unit': 'GiB-h',
            'description': 'File systems, by their size',
            'factor': f'1/{2**30}',
            'groupby': ['device'],
            'metadata': ['fstype'],
            'extra_args': {'kind': 'gauge', 'per': 'hour', 'hold': 30},
        },
        'machine.network.out': {
            'alt_name': 'network.out',
            'unit': 'GB',
            'description': 'Traffic from this machine',
            'factor': f'1/{10**9}',
            'groupby': ['device'],
            'extra_args': {'kind': 'cumulative'},
        },
        'machine.network.in': {
            'alt_name': 'network.in',
            'unit': 'GB',
            'description': 'Traffic to this machine',
            'factor': f'1/{10**9}',
            'groupby': ['device'],
            'extra_args': {'kind': 'cumulative'},
        },
    }
}


def drivers(folder: str, scope: str) -> str:
    """Return the sections of the configuration, [collect] last.

    :param scope: who is charged for this machine.
    """
    return DRIVERS.format(
        secret=secrets.token_urlsafe(), interval_s=INTERVAL_S, folder=folder, scope=scope
    )
