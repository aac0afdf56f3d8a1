"""What happened to sources in the field, an hour or two of each.

All have samples from midnight to ten past three; something happens at or after 01:30.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from random import Random

from cloudkitty.core.timeframe import Period
from cloudkitty.tests.services import Family

DAY = datetime(2026, 11, 28, tzinfo=UTC)
# The hour in which it happens.
HOUR = Period(DAY + timedelta(hours=1), DAY + timedelta(hours=2))
END = '03:10:00'
GIB = 2**30
TRAFFIC = 'libvirt_domain_interface_stats_transmit_bytes_total'


def at(clock: str) -> int:
    """Return the unix time of HH:MM:SS of the day."""
    hours, minutes, seconds = map(int, clock.split(':'))
    return int(DAY.timestamp()) + hours * 3600 + minutes * 60 + seconds


def samples(begin: str, end: str, step_s: int, value: object) -> list[tuple[int, object]]:
    """Return scrapes from *begin* to before *end*.

    :param value: a number, or a function of the place and the unix time.
    """
    return [
        (instant, value(place, instant) if isinstance(value, Callable) else value)
        for place, instant in enumerate(range(at(begin), at(end), step_s))
    ]


def families(kinds: Mapping[str, str], series: Iterator[tuple[str, dict, list]]) -> list[Family]:
    """Return the series by metric.

    :param kinds: by metric, where it is no gauge.
    """
    found: dict[str, list] = {}
    for name, labels, values in series:
        found.setdefault(name, []).append((labels, values))
    return [Family(name, kinds.get(name, 'gauge'), rows) for name, rows in found.items()]


def kube_state_metrics_moves() -> Iterator[tuple[str, dict, list]]:
    """It gets another address at 01:30; nothing else changes."""
    for instance, begin, end in (
        ('10.0.0.5:8080', '00:00:15', '01:30:00'),
        ('10.0.0.9:8080', '01:30:15', END),
    ):
        labels = {'namespace': 'moved', 'instance': instance, 'job': 'kube-state-metrics'}
        yield 'kube_namespace_created', labels, samples(begin, end, 30, 1.7e9)
        yield (
            'kube_persistentvolumeclaim_resource_requests_storage_bytes',
            {**labels, 'persistentvolumeclaim': 'db'},
            samples(begin, end, 30, 10 * GIB),
        )
        yield (
            'kube_service_status_load_balancer_ingress',
            {**labels, 'service': 'web', 'ip': '192.0.2.1'},
            samples(begin, end, 30, 1),
        )


def dead_containers_are_shown() -> Iterator[tuple[str, dict, list]]:
    """A crash loop and one restart, each dead container shown for minutes; nested groups."""
    name = 'container_memory_working_set_bytes'
    labels = {'namespace': 'ghosts', 'instance': 'node1', 'job': 'kubelet', 'container': 'app'}
    yield 'machine_cpu_cores', {'instance': 'node1'}, samples('00:00:15', END, 30, 8)
    first = at('00:00:15')
    for number in range(36):
        begin = first + number * 300
        yield (
            name,
            {**labels, 'pod': 'crash', 'id': f'/kubepods/a/{number}', 'name': f'c{number}'},
            [(instant, GIB) for instant in range(begin, begin + 570, 30)],
        )
    for number, (begin, end) in enumerate((('00:00:15', '01:34:30'), ('01:30:15', END))):
        yield (
            name,
            {**labels, 'pod': 'once', 'id': f'/kubepods/b/{number}', 'name': f'b{number}'},
            samples(begin, end, 30, GIB),
        )
    for inner, size in (('', GIB), ('/kubepods/c/0', GIB), ('/kubepods/c/0/system', GIB // 2)):
        nested = {**labels, 'pod': 'nested', 'id': f'/kubepods/c/0{inner}', 'name': 'n0'}
        yield name, nested, samples('00:00:15', END, 30, size)
        yield (
            'container_cpu_usage_seconds_total',
            nested,
            samples('00:00:15', END, 30, lambda place, instant: place * 30),
        )


def everything_is_renamed() -> Iterator[tuple[str, dict, list]]:
    """A server, a router, an image and a load balancer get another name at 01:30."""
    for name, begin, end in (('old', '00:00:30', '01:30:00'), ('new', '01:30:30', END)):
        labels = {'name': name, 'tenant_id': 'renamed'}
        server = {'uuid': 's1', 'status': 'ACTIVE', 'flavor_id': 'f1', 'user_id': 'u1'}
        for metric, more, value in (
            ('openstack_nova_server_status', server, 0),
            ('openstack_neutron_router', {'id': 'r1', 'status': 'ACTIVE'}, 0),
            ('openstack_glance_image_bytes', {'id': 'i1'}, 2**20),
            ('openstack_loadbalancer_loadbalancer_status', {'id': 'l1'}, 0),
        ):
            yield metric, {**labels, **more}, samples(begin, end, 60, value)


STATES = ('ACTIVE', 'RESCUE', 'VERIFY_RESIZE', 'SHELVED', 'ERROR', 'RESIZE', 'ACTIVE')
FREE_STATES = ('SHELVED_OFFLOADED', 'DELETED', 'SOFT_DELETED', 'BUILD')


def states_of_a_server() -> Iterator[tuple[str, dict, list]]:
    """An hour of each state; all but the last four hold a host."""
    for hour, status in enumerate((*STATES, *FREE_STATES)):
        yield (
            'openstack_nova_server_status',
            {
                'uuid': 's1',
                'name': 'web',
                'status': status,
                'flavor_id': 'f1',
                'tenant_id': 'states',
                'user_id': 'u1',
            },
            samples(f'{hour:02}:00:30', f'{hour + 1:02}:00:00', 60, hour),
        )


def servers_are_resized() -> Iterator[tuple[str, dict, list]]:
    """A server becomes larger at five past, a volume at half past."""
    for flavor, begin, end in (('small', '00:00:30', '01:05:00'), ('large', '01:05:30', END)):
        yield (
            'openstack_nova_server_status',
            {
                'uuid': 's1',
                'name': 'web',
                'status': 'ACTIVE',
                'flavor_id': flavor,
                'tenant_id': 'resized',
                'user_id': 'u1',
            },
            samples(begin, end, 60, 0),
        )
    for size, begin, end in ((10, '00:00:30', '01:30:00'), (20, '01:30:30', END)):
        yield (
            'openstack_cinder_volume_gb',
            {
                'id': 'v1',
                'size': str(size),
                'tenant_id': 'resized',
                'user_id': 'u1',
                'volume_type': 'ssd',
            },
            samples(begin, end, 60, size),
        )


def a_machine_stops() -> Iterator[tuple[str, dict, list]]:
    """m1 goes off at 01:50; two jobs scrape m3. Each uses 1 of 4 GiB, and 10 GiB of a disk."""
    for machine, job, end in (
        ('m1', 'node', '01:50:00'),
        ('m2', 'node', END),
        ('m3', 'node', END),
        ('m3', 'extra', END),
    ):
        labels = {'instance': machine, 'project_id': 'demo', 'job': job}
        disk = {**labels, 'device': '/dev/vda', 'fstype': 'ext4', 'mountpoint': '/'}
        for metric, more, value in (
            ('node_memory_MemTotal_bytes', labels, 4 * GIB),
            ('node_memory_MemAvailable_bytes', labels, 3 * GIB),
            ('node_filesystem_size_bytes', disk, 40 * GIB),
            ('node_filesystem_free_bytes', disk, 30 * GIB),
        ):
            yield metric, more, samples('00:00:15', end, 30, value)


def counters_begin_again() -> Iterator[tuple[str, dict, list]]:
    """1 MB a minute: a guest is rebooted at 01:40, another one moves to another host at 01:30."""
    half, restart = at('01:30:30'), at('01:40:00')
    labels = {'domain': 'rebooted', 'tenant_id': 'traffic', 'instance': 'cmp1:9177'}

    def rebooted(place, instant):
        begun = instant < restart
        return 10**10 + place * 10**6 if begun else (instant - restart) // 60 * 10**6

    yield TRAFFIC, {**labels, 'target_device': 'tap1'}, samples('00:00:30', END, 60, rebooted)
    for host, begin, end, first in (
        ('cmp1:9177', '00:00:30', '01:30:00', 5 * 10**9),
        ('cmp2:9177', '01:30:30', END, 0),
    ):
        base = at('00:00:30') if first else half
        yield (
            TRAFFIC,
            {**labels, 'domain': 'moved', 'instance': host, 'target_device': 'tap2'},
            samples(
                begin,
                end,
                60,
                lambda place, instant, first=first, base=base: (
                    first + (instant - base) // 60 * 10**6
                ),
            ),
        )


def a_counter_grows_in_bursts() -> Iterator[tuple[str, dict, list]]:
    """By 1 GB every five minutes; scrapes are up to 20 s early or late, each of them."""
    random, first = Random(1), at('00:00:10')
    instants = [at('00:00:30') + 60 * n + random.randint(-20, 20) for n in range(185)]
    yield (
        TRAFFIC,
        {'domain': 'bursts', 'tenant_id': 'bursts', 'instance': 'cmp1:9177'},
        [(instant, 10**10 + (instant - first) // 300 * 10**9) for instant in instants],
    )


def several_series_tell_of_a_counter() -> Iterator[tuple[str, dict, list]]:
    """Of bursts of 1 GB every five minutes; 1 MB a minute comes on top for one of them.

    Two replicas scrape it half a minute apart; a dead container's counter is still shown; it has
    another label after 01:32; or another source counts bursts of 2 GB of the same resource.
    """
    first = at('00:00:10')

    def bursts(size, begin=first):
        return lambda place, instant: 10**10 + (instant - begin) // 300 * size

    def steady(place, instant):
        return 5 * 10**9 + (instant - first) * 10**6 // 60

    def series(scope, source, begin, end, value):
        labels = {'domain': scope, 'tenant_id': scope, 'source': source}
        return TRAFFIC, labels, samples(begin, end, 60, value)

    for source, second in (('a', '05'), ('b', '35')):
        yield series('bursts-replicas', source, f'00:00:{second}', END, bursts(10**9))
        yield series('steady-replicas', source, f'00:00:{second}', END, steady)
    yield series('bursts-ghost', 'dead', '00:00:05', END, 99 * 10**9)
    yield series('bursts-ghost', 'live', '00:00:35', END, bursts(10**9))
    yield series('bursts-moved', 'a', '00:00:05', '01:32:00', bursts(10**9))
    yield series('bursts-moved', 'b', '01:32:05', END, bursts(10**9))
    yield series('steady-moved', 'a', '00:00:05', '01:32:00', steady)
    yield series('steady-moved', 'b', '01:32:05', '01:33:05', steady)
    yield series('steady-moved', 'b', '01:34:05', END, steady)  # without the scrape between
    yield series('bursts-sources', 'a', '00:00:05', END, bursts(10**9))
    yield series('bursts-sources', 'b', '00:00:35', END, bursts(2 * 10**9, at('00:02:20')))
    # One replica of two is away for a while.
    yield series('bursts-failover', 'a', '00:00:05', END, bursts(10**9))
    yield series('bursts-failover', 'b', '00:00:35', '01:20:00', bursts(10**9))
    yield series('bursts-failover', 'b', '01:40:35', END, bursts(10**9))


def samples_are_no_numbers() -> Iterator[tuple[str, dict, list]]:
    """One sample is NaN, or infinite; the second replica has a number then. One divides by 0."""
    for text in ('NaN', '+Inf', '-Inf'):

        def spoiled(place, instant, text=text):
            return text if instant == at('01:30:30') else 6

        def spoiled_counter(place, instant, text=text):
            return text if instant == at('01:30:30') else 10**10 + place * 10**6

        labels = {'tenant_id': 'no-numbers', 'user_id': 'u1'}
        for volume, replica, value in (
            (f'alone {text}', 'a', spoiled),
            (f'two {text}', 'a', spoiled),
            (f'two {text}', 'b', 6),
        ):
            yield (
                'openstack_cinder_volume_gb',
                {**labels, 'id': volume, 'volume_type': 'ssd', 'replica': replica},
                samples('00:00:30', END, 60, value),
            )
        yield (
            TRAFFIC,
            {**labels, 'domain': text},
            samples('00:00:30', END, 60, spoiled_counter),
        )
    labels = {'tenant_id': 'no-numbers', 'id': 'divided'}
    yield 'total_gb', labels, samples('00:00:30', END, 60, 6)
    yield (
        'sharers',
        labels,
        samples('00:00:30', END, 60, lambda place, instant: 2 * (instant != at('01:30:30'))),
    )


def values_cannot_be_used() -> Iterator[tuple[str, dict, list]]:
    """From 01:00 on, or from 01:10 to 01:50, or once, a volume and a counter are no numbers.

    The balance of one is below 0 in that hour.
    """
    times = {
        'never': ('01:00:00', '02:00:00'),
        'mostly': ('01:10:00', '01:50:00'),
        'once': ('01:30:00', '01:31:00'),
        'fine': ('01:30:00', '01:30:00'),
    }
    for scope, (begin, end) in times.items():
        labels = {'tenant_id': scope, 'id': scope}

        def strange(right, span=(begin, end)):
            return lambda place, instant: (
                'NaN' if at(span[0]) <= instant < at(span[1]) else right(place)
            )

        yield 'odd_gb', labels, samples('00:00:30', END, 60, strange(lambda place: 5))
        yield 'odd_bytes_total', labels, samples('00:00:30', END, 60, strange(lambda n: 60 * n))
        yield (
            'balance',
            labels,
            samples(
                '00:00:30',
                END,
                60,
                lambda place, instant, scope=scope: (
                    -1 if scope == 'never' and at('01:00:00') <= instant < at('02:00:00') else 1
                ),
            ),
        )


def samples_on_the_edge() -> Iterator[tuple[str, dict, list]]:
    """Scrapes at whole minutes: one of them is the end of one period and the begin of the next."""
    yield (
        'openstack_cinder_volume_gb',
        {'id': 'v2', 'tenant_id': 'edge', 'user_id': 'u1', 'volume_type': 'ssd'},
        samples('00:30:00', '02:00:00', 60, 6),
    )


def part_of_an_exporter_is_away() -> Iterator[tuple[str, dict, list]]:
    """Nova's part fails from 00:50 to 02:10, Cinder's goes on; the servers run all the time.

    The only load balancer is deleted at 01:20, and its router is moved for a minute at 02:30.
    """
    for scope_id, server in (('p1', 's1'), ('p2', 's2')):
        labels = {'tenant_id': scope_id, 'user_id': 'u1', 'job': 'openstack', 'instance': 'exp'}
        for begin, end in (('00:00:30', '00:50:00'), ('02:10:00', END)):
            yield (
                'openstack_nova_server_status',
                {**labels, 'uuid': server, 'name': 'web', 'status': 'ACTIVE', 'flavor_id': 'f1'},
                samples(begin, end, 60, 0),
            )
        yield (
            'openstack_cinder_volume_gb',
            {**labels, 'id': f'v{scope_id}', 'name': 'disk', 'volume_type': 'ssd'},
            samples('00:00:30', END, 60, 10),
        )
    labels['tenant_id'] = 'p1'
    yield (
        'openstack_loadbalancer_loadbalancer_status',
        {**labels, 'id': 'l1', 'name': 'front'},
        samples('00:00:30', '01:20:00', 60, 0),
    )
    yield 'up', {'job': 'openstack', 'instance': 'exp'}, samples('00:00:30', END, 60, 1)


def scrapes_are_rare() -> Iterator[tuple[str, dict, list]]:
    """A sample each 15 minutes."""
    yield (
        'rare_gb',
        {'id': 'v1', 'tenant_id': 'p1'},
        samples('00:04:00', END, 900, 6),
    )


def nobody_has_the_label() -> Iterator[tuple[str, dict, list]]:
    """The metric names projects by another label."""
    yield 'mislabelled_gb', {'id': 'v1', 'project': 'p1'}, samples('00:00:30', END, 60, 6)
    yield 'labelled_gb', {'id': 'v2', 'tenant_id': 'p1'}, samples('00:00:30', END, 60, 6)


def the_label_of_the_scope_comes_and_goes() -> Iterator[tuple[str, dict, list]]:
    """A volume has the label of its scope until 01:30, another one from then on."""
    early, late = ('00:00:30', '01:30:00'), ('01:30:00', END)
    for name, known, unknown in (('vanishing_gb', early, late), ('appearing_gb', late, early)):
        labels = {'id': name, 'job': 'labels', 'instance': 'labels1'}
        yield name, {**labels, 'tenant_id': 'p1'}, samples(*known, 30, 6)
        yield name, labels, samples(*unknown, 30, 6)
    yield 'up', {'job': 'labels', 'instance': 'labels1'}, samples('00:00:30', END, 30, 1)


def one_side_of_a_difference_is_away() -> Iterator[tuple[str, dict, list]]:
    """Sizes are told all the time, what is free of them is not from 00:50 to 02:10."""
    labels = {'id': 'd1', 'tenant_id': 'p1'}
    yield 'size_gb', labels, samples('00:00:30', END, 60, 10)
    for begin, end in (('00:00:30', '00:50:00'), ('02:10:00', END)):
        yield 'free_gb', labels, samples(begin, end, 60, 4)


TARGET_AWAY = ('01:25:00', '02:35:00')
# What a target has of its scrapes while it is away, and what becomes of its resource.
TARGETS = {
    'refused': '0',
    'absent': '',
    'removed': 'removed',
    'begun': 'begun',
    'ended': '1',
    'replica': '0',
    'replaced': '',
    'dead': 'dead',
}


def one_target_of_several() -> Iterator[tuple[str, dict, list]]:
    """A metric for each name in TARGETS, with a target that is fine and one that is not."""
    away, back = TARGET_AWAY
    for name, kind in TARGETS.items():
        fine, other = ({'job': name, 'instance': f'{name}{number}'} for number in (1, 2))
        begin = back if kind == 'begun' else '00:00:15'
        ends_early = kind in ('removed', 'dead')
        whole, first, second = (
            samples(begin, END, 30, 1),
            samples(begin, away, 30, 1) if kind != 'begun' else [],
            samples(back, END, 30, 1) if not ends_early else [],
        )
        refused = samples(away, back, 30, 0) if kind == '0' else []
        refused = samples(away, END, 30, 0) if kind == 'dead' else refused
        yield 'up', fine, samples('00:00:15', END, 30, 1)
        yield 'up', other, whole if kind == '1' else [*first, *refused, *second]
        metric = f'target_{name}_gb'
        yield metric, {'tenant_id': 'p1', 'id': 'fine', **fine}, samples('00:00:15', END, 30, 1)
        own = {'tenant_id': 'p1', 'id': 'own', **other}
        if name == 'replaced':
            yield metric, own, first
            yield metric, {**own, 'id': 'next'}, second
        else:
            yield metric, own, [*first, *(second if kind != '1' else [])]
        if name == 'replica':
            yield metric, {**own, 'instance': 'replica1'}, samples('00:00:15', END, 30, 1)


def a_part_of_an_exporter_fails() -> Iterator[tuple[str, dict, list]]:
    """One target of two answers from 01:25 to 02:35 and lacks a metric; so it says, or nothing.

    Its other metrics go on. In `ended` its only resource was deleted at 01:25. `alone` has no
    other target, and fails until the end.
    """
    calm = ('00:00:15', END)
    for name, is_told in (('told', True), ('silent', False), ('ended', True), ('alone', True)):
        labels = {'job': name, 'instance': f'{name}1'}
        bad = ('01:25:00', END if name == 'alone' else '02:35:00')
        whole = [*samples('00:00:15', bad[0], 30, 1), *samples(bad[1], END, 30, 1)]
        if name == 'ended':
            whole = samples('00:00:15', bad[0], 30, 1)
        ok = samples(
            *calm,
            30,
            lambda place, instant, bad=bad, name=name: int(
                name == 'ended' or not at(bad[0]) <= instant < at(bad[1])
            ),
        )
        yield 'up', labels, samples(*calm, 30, 1)
        if is_told:
            yield 'part_success', {**labels, 'part': 'sizes'}, ok
            yield 'part_success', {**labels, 'part': 'other'}, samples(*calm, 30, 1)
        yield f'part_{name}_gb', {**labels, 'tenant_id': 'p1', 'id': 'own'}, whole
        yield (
            f'part_{name}_count',
            {**labels, 'tenant_id': 'p1', 'id': 'own'},
            samples(*calm, 30, 1),
        )
        if name != 'alone':
            fine = {'job': name, 'instance': f'{name}2'}
            yield 'up', fine, samples(*calm, 30, 1)
            yield 'part_success', {**fine, 'part': 'sizes'}, samples(*calm, 30, 1)
            yield f'part_{name}_gb', {**fine, 'tenant_id': 'p1', 'id': 'x'}, samples(*calm, 30, 1)


def everything() -> list[Family]:
    """Return the families of all cases; each has scopes of its own."""
    cases = (
        kube_state_metrics_moves,
        dead_containers_are_shown,
        everything_is_renamed,
        states_of_a_server,
        servers_are_resized,
        a_machine_stops,
        counters_begin_again,
        a_counter_grows_in_bursts,
        several_series_tell_of_a_counter,
        samples_are_no_numbers,
        samples_on_the_edge,
    )
    return families(
        {
            'container_cpu_usage_seconds_total': 'counter',
            TRAFFIC: 'counter',
        },
        (row for case in cases for row in case()),
    )
