"""Nova, Cinder, Neutron, Glance, Octavia and Swift as far as the central agent asks them.

What they answer is made after the recorded notifications of the real services: the same names,
values and forms of times. A real Keystone says whom they answer: without the role admin they list
one project, as the real ones do, but for Nova, which refuses to list all.
"""

from urllib import parse

from cloudkitty.tests import faults

ALPHA, BETA = '0000000000004000800000000000bbbb', '0000000000004000800000000000cccc'
# Fewer than any list has.
PAGE = 2
LISTS = {
    '/v3/p/volumes/detail': ('volumes', 'os-vol-tenant-attr:tenant_id'),
    '/v3/p/snapshots/detail': ('snapshots', 'os-extended-snapshot-attributes:project_id'),
    '/v3/p/backups/detail': ('backups', 'os-backup-project-attr:project_id'),
    '/v2.0/floatingips': ('floatingips', 'project_id'),
    '/v2/lbaas/loadbalancers': ('loadbalancers', 'project_id'),
    '/v2/images': ('images', 'owner'),
    '/v2.1/servers/detail': ('servers', 'tenant_id'),
}
# Service types of the catalog, and what is behind the address in it.
CATALOG = {
    'volumev3': '/v3/p',
    'network': '',
    'load-balancer': '',
    'image': '',
    'compute': '/v2.1',
    'object-store': '/v1/AUTH_own',
}


def volume(number: int, project: str = ALPHA, **more) -> dict:
    return {
        'id': f'volume-{number}',
        'name': f'data-{number}',
        'size': 3,
        'status': 'available',
        'user_id': 'alice',
        'os-vol-tenant-attr:tenant_id': project,
        'volume_type': 'lvm',
        'volume_type_id': '0bffa3bf-0f0b-4277-bde2-8dd23a09e844',
        'availability_zone': 'nova',
        # Naive, with microseconds.
        'created_at': '2024-11-29T12:42:06.598868',
        **more,
    }


def server(number: int, project: str = ALPHA, **more) -> dict:
    return {
        'id': f'server-{number}',
        'name': f'web-{number}',
        'status': 'ACTIVE',
        'tenant_id': project,
        'user_id': 'alice',
        'created': '2024-11-29T12:48:17Z',
        'updated': '2024-11-29T12:48:18Z',
        'image': {'id': '155d900f-4e14-4e4c-a73d-069cbf4541e6'},
        'flavor': {
            'vcpus': 2,
            'ram': 512,
            'disk': 1,
            'ephemeral': 0,
            'swap': 0,
            'original_name': 'm1.tiny',
        },
        'OS-EXT-AZ:availability_zone': 'nova',
        'OS-EXT-STS:vm_state': 'active',
        'OS-SRV-USG:launched_at': '2024-11-29T12:48:18.000000',
        'OS-SRV-USG:terminated_at': None,
        **more,
    }


def floating_ip(number: int, project: str = ALPHA) -> dict:
    return {
        'id': f'address-{number}',
        'project_id': project,
        'floating_ip_address': f'203.0.113.{number}',
        'floating_network_id': 'fad70229-1f6d-4295-a604-00861ce273a5',
        'status': 'DOWN',
        'created_at': '2024-11-29T12:45:11Z',
    }


def image(number: int, owner: str | None = ALPHA, **more) -> dict:
    return {
        'id': f'image-{number}',
        'name': 'tiny',
        'owner': owner,
        'size': 1048576,
        'status': 'active',
        'visibility': 'private',
        'os_hidden': False,
        'disk_format': 'raw',
        'created_at': '2024-11-29T12:40:27Z',
        **more,
    }


def balancer(number: int, project: str = ALPHA) -> dict:
    return {
        'id': f'balancer-{number}',
        'name': 'lb',
        'project_id': project,
        'provider': 'amphora',
        'flavor_id': None,
        'availability_zone': None,
        'vip_address': '192.0.2.2',
        # Naive.
        'created_at': '2024-04-22T23:02:14',
    }


def part(number: int, key: str, project: str = ALPHA) -> dict:
    """Return a snapshot or a backup."""
    return {
        'id': f'part-{number}',
        'name': f'part-{number}',
        'size': 5,
        'status': 'available',
        'volume_id': 'volume-1',
        key: project,
        'created_at': '2024-11-29T12:42:09.000000',
    }


class Cloud:
    """The services, on one address.

    :param keystone: says what a token may see.
    :ivar things: what there is, by the name of the list; deleted servers have the status DELETED.
    :ivar accounts: headers of Swift's accounts, by project.
    """

    def __init__(self, keystone):
        self._keystone = keystone
        self.things = {key: [] for key, _ in LISTS.values()}
        self.accounts = {}
        self.server = faults.FaultyServer(self._answer)

    def announce(self):
        """Put the services into the catalog."""
        for kind, path in CATALOG.items():
            self._keystone.announce(f'http://{self.server.address}{path}', name=kind, kind=kind)

    def _answer(self, handler, request):
        own, roles = self._rights(request.headers.get('X-Auth-Token', ''))
        if request.method == 'HEAD':
            self._answer_account(handler, request.path, roles)
            return
        key, project_key = LISTS[request.path]
        found = [one for one in self.things[key] if self._fits(key, one, request.parameters)]
        if 'admin' not in roles:
            if key == 'servers':
                faults.as_json({'forbidden': {'code': 403}}, status=403)(handler, request)
                return
            found = [
                one for one in found if one[project_key] == own or one.get('visibility') == 'public'
            ]
        start = int(request.parameters.get('marker', 0))
        answer = {key: found[start : start + PAGE]}
        if start + PAGE < len(found):
            query = parse.urlencode({**request.parameters, 'marker': start + PAGE})
            link = f'http://internal.example{request.path}?{query}'
            if key == 'images':
                answer['next'] = link
            else:
                answer[f'{key}_links'] = [{'rel': 'next', 'href': link}]
        faults.as_json(answer)(handler, request)

    def _fits(self, key, one, parameters):
        if key == 'servers':
            is_asked = parameters.get('deleted') == 'true'
            assert not is_asked or 'changes-since' in parameters
            return (one['status'] == 'DELETED') == is_asked
        return key != 'images' or str(one['os_hidden']).lower() == parameters['os_hidden']

    def _answer_account(self, handler, path, roles):
        headers = self.accounts.get(path.removeprefix('/v1/AUTH_'))
        status = 403 if 'admin' not in roles else 404 if headers is None else 204
        handler.send(status, b'', headers=headers)

    def _rights(self, token):
        answer = self._keystone.ask('GET', 'auth/tokens', headers={'X-Subject-Token': token})
        found = answer['token']
        return found['project']['id'], {role['name'] for role in found['roles']}
