"""The plug-in of the OpenStack client, with its real library against a server of the test."""

import gc
import http.server
import io
import json
import os
import threading
import types
from importlib import metadata

import pytest
from keystoneauth1 import noauth, session
from osc_lib import exceptions

from cloudkitty.osc import plugin
from cloudkitty.tests import terminals

STATEMENT = {
    'number': 'CK-2026-000001',
    'voids': None,
    'blockers': ['scope p1 is waiting'],
    'names': {'p1': 'production'},
    'lines': [
        {
            'item': 'vcpu',
            'kind': 'usage',
            'key': {'flavor': 'm1'},
            'scope_id': 'p1',
            'quantity': '5',
            'unit': 'h',
            'list': '1.25',
            'amount': '1.20',
        },
        {
            'item': 'fee',
            'kind': 'fee',
            'key': {},
            'scope_id': None,
            'quantity': '0',
            'unit': '',
            'list': '0',
            'amount': '5.00',
        },
    ],
    'list': '1.25',
    'adjustment': '4.95',
    'currency': 'EUR',
    'net': '6.20',
    'tax': '1.24',
    'total': '7.44',
    'drawn': None,
    'due': '7.44',
}
ROWS = [
    {name: f'{name}-{number}' for name in ('number', 'state', 'account_id', 'month', 'currency')}
    | {'net': None, 'tax': None, 'total': None}
    for number in range(3)
]
BUDGET = {
    'id': 'b',
    'name': '',
    'amount': '500',
    'basis': 'net',
    'measure': 'actual',
    'thresholds': [50, 80],
}
DOCUMENT = {'plans': {'p': {'currency': 'EUR'}}}
# With more digits than a float has.
PRICED = {
    'qty': 4,
    'unit': 'vcpu',
    'groupby': {'resource': 'db', 'project_id': 'p1'},
    'steps': [
        {
            'module': 'hashmap',
            'rules': ['service vcpus: flat 0.0123'],
            'amounts': [
                {'group': None, 'expression': '0.0123 * 4', 'amount': 'LONG'},
                {'group': 'g', 'expression': '1', 'amount': 1},
            ],
            'price': 'LONG',
        },
        {'module': 'pyscripts', 'rules': [], 'amounts': [], 'price': None},
    ],
    'price': None,
}
LONG = '0.049200000000000000000000001'
EXPLAINED = {
    'results': [
        {
            'type': 'vcpus',
            'series': [
                {
                    'labels': {'resource': 'db', 'flavor': 'm1'},
                    'samples': [{'begin': '12:00', 'end': '13:00', 'value': '4', 'samples': 60}],
                }
            ],
            'points': [PRICED],
        }
    ]
}
STORED = {
    'results': [{'type': 'vcpus', 'points': [PRICED | {'steps': [], 'price': 2, 'stored': 3}]}]
}
EXPLAINED_LINE = {
    'line': {
        'steps': [{'name': 'tier-1', 'operand': '5 x 0.05', 'result': '0.25'}],
        'amount': '0.24',
    },
    'resources': [
        {'scope_id': 'p1', 'resource': 'db', 'quantity': '4', 'list': '0.2'},
        {'scope_id': 'p1', 'resource': '', 'quantity': '1', 'list': '0.05'},
    ],
    'others': 7,
    'current': False,
}


class Service(http.server.BaseHTTPRequestHandler):
    """Answers what is written down, and keeps what was asked."""

    def answer(self):
        length = int(self.headers.get('Content-Length') or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path, _, query = self.path.partition('?')
        self.server.asked.append((self.command, path, query, body))
        status, form = self.server.answers.get((self.command, path), (404, {'message': 'not here'}))
        if path == '/v2/statements' and self.command == 'GET':
            offset = int(query.rpartition('offset=')[2].partition('&')[0])
            form = {'total': len(ROWS), 'results': ROWS[offset : offset + 2]}
        content = form if isinstance(form, bytes) else json.dumps(form).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def log_message(self, *arguments):
        """Keep the output of the tests clean."""


@pytest.fixture(scope='module')
def served():
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Service)
    number = STATEMENT['number']
    server.answers = {
        ('GET', '/v2/statements'): (200, {}),
        ('POST', '/v2/statements'): (200, STATEMENT),
        ('GET', '/v2/statements/draft'): (200, STATEMENT),
        ('GET', f'/v2/statements/{number}'): (200, STATEMENT),
        ('GET', f'/v2/statements/{number}/files/pdf'): (200, b'%PDF-'),
        ('POST', f'/v2/statements/{number}/void'): (200, STATEMENT | {'voids': number}),
        ('GET', '/v2/billing/accounts'): (200, {'total': 0, 'results': []}),
        ('GET', '/v2/budgets'): (200, {'total': 1, 'results': [BUDGET]}),
        ('POST', '/v2/budgets'): (200, BUDGET),
        ('DELETE', '/v2/budgets/b'): (200, {}),
        ('GET', '/v2/billing/document'): (200, {'version': 1, 'document': DOCUMENT}),
        ('GET', '/v2/explain'): (
            200,
            json.dumps(EXPLAINED).replace('"LONG"', LONG).encode(),
        ),
        ('GET', '/v2/explain/stored'): (200, STORED),
        ('GET', '/v2/statements/explain'): (200, EXPLAINED_LINE),
        ('PUT', '/v2/billing/document'): (
            200,
            {'differences': ['+ plans.p: x'], 'version': 1, 'digest': ''},
        ),
    }
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(served, monkeypatch, tmp_path):
    """Return what runs a command as the OpenStack client does: its output, or its table."""
    monkeypatch.chdir(tmp_path)
    served.asked = []
    cloud = types.SimpleNamespace(
        session=session.Session(auth=noauth.NoAuth()),
        region_name=None,
        interface='public',
        get_endpoint_for_service_type=lambda *_, **__: f'http://127.0.0.1:{served.server_port}/v1/',
    )
    client = plugin.make_client(cloud)
    known = {
        entry.name.replace('_', ' '): entry
        for entry in metadata.entry_points(group=plugin.COMMANDS)
    }

    def run(line, *more, screen=None):
        name = next(one for one in known if line == one or line.startswith(f'{one} '))
        out, err = (screen or io.StringIO() for _ in range(2))
        app = types.SimpleNamespace(
            client_manager=types.SimpleNamespace(**{plugin.API_NAME: client}),
            stdout=out,
            stderr=err,
        )
        command = known[name].load()(app, None)
        arguments = command.get_parser(name).parse_args([*line.removeprefix(name).split(), *more])
        if screen is not None:
            return command.run(arguments)
        found = command.take_action(arguments)
        return (out.getvalue() + err.getvalue()) if found is None else found

    return run


@pytest.fixture
def named(served, monkeypatch):
    """A project whose name turns the order of what follows, and empties the screen."""
    name = 'web\u202epohs\x1b[2J'
    statement = STATEMENT | {'names': {'p1': name}, 'blockers': [f'scope {name} is waiting']}
    answers = {
        STATEMENT['number']: (200, statement),
        'draft': (200, statement),
        'explain': (409, {'message': name}),
    }
    for path, answer in answers.items():
        monkeypatch.setitem(served.answers, ('GET', f'/v2/statements/{path}'), answer)
    return name


def test_the_plug_in_is_found_by_the_openstack_client():
    """Beside the commands of python-cloudkittyclient, none of which it takes the place of."""
    [entry] = metadata.entry_points(group='openstack.cli.extension', name='rating_billing')
    ours = {entry.name for entry in metadata.entry_points(group=plugin.COMMANDS)}
    theirs = {entry.name for entry in metadata.entry_points(group='openstack.rating.v2')}

    assert entry.load() is plugin
    assert plugin.DEFAULT_API_VERSION in plugin.API_VERSIONS
    assert plugin.COMMANDS == f'openstack.{plugin.API_NAME}.v{plugin.DEFAULT_API_VERSION}'
    assert ours and theirs and not ours & theirs


def test_statements_are_listed_over_all_pages(run, served):
    names, rows = run('rating statement list --account acme')

    assert [row[0] for row in rows] == ['number-0', 'number-1', 'number-2']
    assert rows[0][names.index('total')] == ''
    assert [query for _, _, query, _ in served.asked] == [
        'account_id=acme&offset=0&limit=100',
        'account_id=acme&offset=2&limit=100',
    ]


@pytest.mark.parametrize('line', ['show CK-2026-000001', 'draft --scope p1 2026-10'])
def test_a_statement_is_a_table_with_its_sums(run, line):
    """What the caller may not see has no row."""
    _, rows = run(f'rating statement {line}')

    assert rows == [
        ('vcpu', 'flavor=m1', 'production', '5 h', '1.25', '1.20'),
        ('fee', '', '', '', '', '5.00'),
        ('net', '', '', '', '', '6.20 EUR'),
        ('tax', '', '', '', '', '1.24 EUR'),
        ('total', '', '', '', '', '7.44 EUR'),
        ('due', '', '', '', '', '7.44 EUR'),
    ]


def test_a_statement_is_saved(run, tmp_path):
    run('rating statement export CK-2026-000001')
    assert (tmp_path / 'CK-2026-000001.pdf').read_bytes() == b'%PDF-'
    with pytest.raises(exceptions.CommandError, match='No such file'):
        run('rating statement export CK-2026-000001 --file none/x.pdf')


@pytest.mark.parametrize(
    'line, asked',
    [
        (
            'rating statement close acme 2026-10',
            ('POST', '/v2/statements', '', {'account_id': 'acme', 'month': '2026-10'}),
        ),
        (
            'rating statement void CK-2026-000001 --reason wrong',
            ('POST', '/v2/statements/CK-2026-000001/void', '', {'reason': 'wrong'}),
        ),
        ('rating account list', ('GET', '/v2/billing/accounts', 'offset=0&limit=100', None)),
        ('rating budget list acme', ('GET', '/v2/budgets', 'account_id=acme', None)),
        (
            'rating budget create acme 500 --threshold 50 --threshold 80',
            (
                'POST',
                '/v2/budgets',
                '',
                {'account_id': 'acme', 'amount': '500', 'thresholds': [50, 80]},
            ),
        ),
        ('rating budget delete b', ('DELETE', '/v2/budgets/b', '', None)),
        ('rating plan show', ('GET', '/v2/billing/document', '', None)),
    ],
)
def test_what_is_asked(run, served, line, asked):
    run(line)

    assert served.asked == [asked]


def test_a_price_is_explained_with_all_its_digits(run, served):
    names, rows = run('rating explain p1 db 2026-10-01T12:00')

    assert names == ('metric', 'module', 'step', 'amount')
    assert rows == [
        ('vcpus', '', '60 samples from 12:00 to 13:00 of flavor=m1, resource=db', '4'),
        ('vcpus', '', 'quantity of project_id=p1, resource=db', '4 vcpu'),
        ('vcpus', 'hashmap', 'service vcpus: flat 0.0123', ''),
        ('vcpus', 'hashmap', '0.0123 * 4', LONG),
        ('vcpus', 'hashmap', 'group g: 1', '1'),
        ('vcpus', 'hashmap', 'price', LONG),
        ('vcpus', 'pyscripts', 'price', 'the point is left out'),
    ]
    assert served.asked == [
        ('GET', '/v2/explain', 'scope_id=p1&resource=db&period=2026-10-01T12%3A00', None)
    ]


def test_a_stored_price_is_explained(run):
    _, rows = run('rating explain p1 db 2026-10-01T12:00 --stored')

    assert rows[1:] == [('vcpus', '', 'price', '2'), ('vcpus', '', 'stored price', '3')]


@pytest.mark.parametrize(
    'line, query',
    [
        ('2 --number CK-2026-000001', 'number=CK-2026-000001&position=2'),
        ('1 --account acme --month 2026-10', 'account_id=acme&month=2026-10&position=1'),
    ],
)
def test_a_line_of_a_statement_is_explained(run, served, line, query):
    _, rows = run(f'rating statement explain {line}')

    assert rows == [
        ('usage of db', '4', '0.2'),
        ('usage of no resource', '1', '0.05'),
        ('usage of 7 more', '', ''),
        ('tier-1', '5 x 0.05', '0.25'),
        ('amount', '', '0.24'),
    ]
    assert served.asked == [('GET', '/v2/statements/explain', query, None)]


def test_plans_are_applied_from_a_file(run, served, tmp_path):
    """As text, so that no digit is lost."""
    path = tmp_path / 'plans.yml'
    path.write_text(run('rating plan show') + 'currencies: {ICU: {digits: 2}}\n')

    told = run('rating plan apply --from 2026-12 --dry-run', str(path))

    assert told == '+ plans.p: x\nversion 1, digest none\n'
    assert served.asked[-1][2:] == (
        'dry_run=True',
        {'document': DOCUMENT | {'currencies': {'ICU': {'digits': '2'}}}, 'from_month': '2026-12'},
    )


def test_a_terminal_obeys_no_name(run, named):
    """Neither in a table nor beside it; and it stays open, for the commands after this one."""
    terminal, screen = os.openpty()
    with open(screen, 'w', encoding='utf-8') as stream:
        assert run('rating statement draft --scope p1 2026-10', screen=stream) == 0
        gc.collect()
        print('the next command', file=stream)
    shown = terminals.read_all(terminal)

    assert named not in shown
    assert '| web\\u202epohs\\x1b[2J ' in shown
    assert 'scope web\\u202epohs\\x1b[2J is waiting' in shown
    assert 'the next command' in shown


def test_a_file_has_names_as_they_are(run, named, tmp_path):
    path = tmp_path / 'table'
    with path.open('w', encoding='utf-8') as stream:
        run(f'rating statement show {STATEMENT["number"]}', screen=stream)

    assert f' {named} ' in path.read_text()


def test_a_refusal_is_told(run):
    with pytest.raises(exceptions.CommandError, match=r'^not here \(HTTP 404\)$'):
        run('rating statement show ../x')


def test_a_refusal_is_shown_with_what_nobody_sees(run, named):
    """The OpenStack client prints the text of an error as it is."""
    with pytest.raises(exceptions.CommandError, match=r'^web\\u202epohs\\x1b\[2J \(HTTP 409\)$'):
        run('rating statement explain 1 --account acme')
