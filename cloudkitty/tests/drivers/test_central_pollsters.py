"""The pollsters of the cloud: what services list, and whether that is all there is."""

import pytest

from cloudkitty import errors, pollster
from cloudkitty.core.metering import facts, message
from cloudkitty.pollster.central import instances
from cloudkitty.tests import fake_openstack as fakes
from cloudkitty.tests.fake_openstack import ALPHA, BETA

pytestmark = pytest.mark.xdist_group('keystone')

NOW = facts.to_us(message.timeframe.parse_exact('2024-11-30T00:00:00Z'))


@pytest.fixture
def cloud(keystone):
    made = fakes.Cloud(keystone)
    with made.server:
        made.announce()
        yield made


@pytest.fixture
def load(conf, keystone, tmp_path):
    """Return what loads the pollsters that work for a user, by name."""

    def load(user='admin', project='admin', **options):
        lines = {
            'auth_type': 'password',
            'auth_url': f'{keystone.url}/v3',
            'username': user,
            'password': user,
            'project_name': project,
            'user_domain_id': 'default',
            'project_domain_id': 'default',
            **options,
        }
        section = ''.join(f'{name} = {value}\n' for name, value in lines.items())
        path = tmp_path / 'cloudkitty.conf'
        path.write_text(f'[pollster_openstack]\n{section}\n[pollster_swift]\n{section}')
        conf([], project='cloudkitty', default_config_files=[str(path)])
        return dict(pollster.load(conf, [pollster.CENTRAL]))

    return load


def measured(one):
    """Return the listing of a pollster, and the facts that it states."""
    listing = one.discover()
    counters = list(one.poll(listing.resources, lambda: NOW))
    return listing, [message.fact_of(message.check(message.build(each))) for each in counters]


def fill(cloud):
    cloud.things |= {
        'volumes': [
            fakes.volume(1),
            fakes.volume(2, BETA),
            fakes.volume(3, status='creating'),
            fakes.volume(4, status='in-use', size=5),
        ],
        'snapshots': [fakes.part(5, 'os-extended-snapshot-attributes:project_id', BETA)],
        'backups': [fakes.part(6, 'os-backup-project-attr:project_id')],
        'floatingips': [fakes.floating_ip(7), fakes.floating_ip(8, BETA)],
        'loadbalancers': [fakes.balancer(9)],
        'images': [
            fakes.image(10),
            fakes.image(11, BETA, os_hidden=True),
            fakes.image(12, status='queued', size=None),
            fakes.image(13, None, visibility='public'),
        ],
        'servers': [
            fakes.server(14),
            fakes.server(15, **{'OS-EXT-STS:vm_state': 'building', 'OS-SRV-USG:launched_at': None}),
        ],
    }


@pytest.mark.parametrize(
    'name, expected',
    [
        (
            'volume.size',
            [('volume-1', ALPHA, 3), ('volume-2', BETA, 3), ('volume-4', ALPHA, 5)],
        ),
        ('volume.snapshot.size', [('part-5', BETA, 5)]),
        ('volume.backup.size', [('part-6', ALPHA, 5)]),
        ('ip.floating', [('address-7', ALPHA, 1), ('address-8', BETA, 1)]),
        ('loadbalancer', [('balancer-9', ALPHA, 1)]),
        ('image.size', [('image-10', ALPHA, 1048576), ('image-11', BETA, 1048576)]),
        (
            'instance',
            [
                ('server-14', ALPHA, 1),
                ('server-14', ALPHA, 2),
                ('server-14', ALPHA, 512),
                ('server-14', ALPHA, 1),
                ('server-14', ALPHA, 0),
            ],
        ),
    ],
)
def test_an_administrator_sees_all_projects(cloud, load, name, expected):
    """On all pages; what is not there yet is left out."""
    fill(cloud)
    one = load()[name]
    listing, found = measured(one)

    assert [(fact.resource_id, fact.scope_id, fact.quantity) for fact in found] == expected
    assert {fact.meter for fact in found} == set(one.STATES) == set(one.METERS)
    assert listing.is_complete and listing.is_cloud
    assert all(fact.born is not None and fact.born < NOW for fact in found)


@pytest.mark.parametrize(
    'name', ['volume.size', 'ip.floating', 'image.size', 'loadbalancer', 'volume.backup.size']
)
def test_a_lesser_account_proves_nothing(cloud, load, keystone, name):
    """These services answer it as if its own project were the cloud."""
    own = keystone.project_id('alpha')
    cloud.things |= {
        'volumes': [fakes.volume(1, own), fakes.volume(2, BETA)],
        'backups': [fakes.part(3, 'os-backup-project-attr:project_id', own)],
        'floatingips': [fakes.floating_ip(3, own), fakes.floating_ip(4, BETA)],
        'loadbalancers': [fakes.balancer(5, own), fakes.balancer(6, BETA)],
        'images': [fakes.image(7, own), fakes.image(8, BETA, visibility='public')],
    }
    assert not measured(load('alice', 'alpha')[name])[0].is_complete


def test_an_administrator_that_sees_only_itself_proves_nothing(cloud, load, keystone):
    """A service may have given the role another meaning."""
    cloud.things['volumes'] = [fakes.volume(1, keystone.project_id('admin'))]
    one = load()['volume.size']
    assert not measured(one)[0].is_complete
    cloud.things['volumes'].append(fakes.volume(2))
    assert measured(one)[0].is_complete


def test_nova_refuses_a_lesser_account(cloud, load):
    """So nothing is measured."""
    with pytest.raises(errors.SourceUnreachable, match='403'):
        load('alice', 'alpha')['instance'].discover()


def test_a_server_that_was_deleted_ends_when_it_was(cloud, load):
    """With the sizes that it had, should its begin have been missed too."""
    cloud.things['servers'] = [
        fakes.server(
            1,
            status='DELETED',
            **{
                'OS-SRV-USG:terminated_at': '2024-11-29T12:48:25.000000',
                'OS-EXT-STS:vm_state': 'deleted',
            },
        )
    ]
    _, found = measured(load()['instance'])

    ended = facts.to_us(message.timeframe.parse_exact('2024-11-29T12:48:25Z'))
    assert {fact.at for fact in found} == {ended}
    assert [fact.stage for fact in found] == [facts.CHANGE, facts.END] * 5
    assert [fact.quantity for fact in found[::2]] == [1, 2, 512, 1, 0]
    since = next(one for one in cloud.server.requests if 'changes-since' in one.parameters)
    assert since.headers['OpenStack-API-Version'] == f'compute {instances.MICROVERSION}'


def test_an_item_that_is_not_understood_hides_no_other(cloud, load):
    """Yet it makes the cycle fail, so that nothing is taken for gone."""
    cloud.things['volumes'] = [fakes.volume(1, size=None), fakes.volume(2)]
    one = load()['volume.size']
    counters = []
    with pytest.raises(errors.CollectError, match='1 items not understood'):
        for counter in one.poll(one.discover().resources, lambda: NOW):
            counters.append(counter.resource_id)
    assert counters == ['volume-2']


def test_accounts_of_all_projects_are_measured(cloud, load, keystone):
    """A project that has stored nothing has none; the path of the catalog names another one."""
    own = keystone.project_id('alpha')
    cloud.accounts[own] = {
        'X-Account-Object-Count': '3',
        'X-Account-Bytes-Used': '1048576',
        'X-Account-Container-Count': '1',
    }
    _, found = measured(load()['storage.objects'])
    assert [(fact.meter, fact.resource_id, fact.quantity) for fact in found] == [
        ('storage.objects', own, 3),
        ('storage.objects.size', own, 1048576),
        ('storage.objects.containers', own, 1),
    ]


def test_a_service_that_the_cloud_lacks_is_off(cloud, load, caplog):
    """With one line each; without credentials all are."""
    caplog.set_level('INFO')
    assert load(region_name='elsewhere') == {}
    assert caplog.text.count('the catalog of Keystone has no service') == 8
    caplog.clear()
    assert load(auth_type='') == {}
    assert caplog.text.count('[pollster_openstack]auth_type is missing') == 7
