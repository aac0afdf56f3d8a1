"""A world with statements of every kind of line."""

from datetime import timedelta

from cloudkitty import writer
from cloudkitty.billing import ledger
from cloudkitty.core.billing import canonical
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World, moment

TIERS = [{'up_to': '100', 'unit': '0.05'}, {'up_to': '1000', 'unit': '0.04'}, {'unit': '0.03'}]
DOCUMENT = {
    'plans': {
        'standard': {
            'currency': 'EUR',
            'items': [
                {
                    'name': 'vcpu',
                    'metric': 'cpu',
                    'price': {'graduated': TIERS},
                    'unit': 'vCPU-Hours',
                },
                {
                    'name': 'instances',
                    'metric': 'instance',
                    'by': ['flavor_name', 'region'],
                    'price': 'rated',
                    'discount': '10 %',
                    'unit': 'Hours',
                },
                {
                    'name': 'object',
                    'metric': 'storage.objects.size',
                    'free': '100',
                    'price': {'unit': '0.08'},
                    'tax': 'reduced',
                },
                {
                    'name': 'egress',
                    'metric': 'network.outgoing.bytes',
                    'per': '1073741824',
                    'whole': 'up',
                    'price': {'volume': [{'up_to': '1000', 'unit': '0.09'}, {'unit': '0.05'}]},
                    'unit': 'GiB',
                },
                {
                    'name': 'address',
                    'metric': 'ip.floating',
                    'by': ['resource_id'],
                    'price': {'package': '3.00', 'size': '4'},
                    'minimum': '20',
                },
                {'name': 'support', 'price': {'flat': '25.00'}},
            ],
            'discount': '5 %',
            'coupon': '5.00',
        },
        'poor': {'currency': 'EUR', 'minimum': '50'},
    },
    'accounts': {
        'acme': {
            'name': 'ACME <Ltd> & Söhne',
            'scopes': ['p1', 'p2'],
            'plan': 'standard',
            'tax': {'standard': 'VAT', 'reduced': 'LOW'},
            'owner': 'p1',
        },
        'swiss': {'scopes': ['p3'], 'plan': 'poor', 'currency': 'CHF', 'zone': 'Europe/Zurich'},
        'open': {
            'scopes': ['p4'],
            'plan': 'standard',
            'tax': {'standard': 'VAT', 'reduced': 'LOW'},
        },
    },
    'defaults': {'currency': 'EUR'},
    'rates': {'EUR/CHF': [{'from': '2026-01-01', 'rate': '0.94'}]},
    'taxes': {
        'VAT': [{'from': '2020-01-01', 'rate': '20 %'}],
        'LOW': [{'from': '2020-01-01', 'rate': '5.5 %'}],
    },
}


def points(scope, begin=OCTOBER):
    at = begin + 5 * timedelta(days=1)
    return [
        (scope, at, 'cpu', '1233.3333333333333', '61.67', {}),
        (scope, at, 'instance', '744', '148.9123456789', {'flavor_name': 'm1', 'region': 'one'}),
        (scope, at, 'instance', '12', '2.4', {'flavor_name': 'm2', 'region': 'one'}),
        (scope, at, 'storage.objects.size', '130.5', '7', {}),
        (scope, at, 'network.outgoing.bytes', '5000000000', '0', {}),
        (scope, at, 'ip.floating', '5', '0', {'resource_id': f'ip-{scope}'}),
        (scope, at, 'unlisted', '1', '0.335', {}),
    ]


def made(conf, accounts=None):
    """Return a world whose October is closed for acme and swiss.

    :param accounts: forms of accounts, instead of those of DOCUMENT.
    """
    conf.set_override('issuer', 'Example Cloud\nMain Street 1\nVAT-ID EX123', 'billing')
    world = World(conf)
    world.apply({**DOCUMENT, 'accounts': {**DOCUMENT['accounts'], **(accounts or {})}})
    world.store([*points('p1'), *points('p2'), *points('p3'), *points('p4')])
    world.store([*points('p1', moment('2026-09-01'))])
    world.close('acme', '2026-09')
    world.push('p1', moment('2026-09-02') + HOUR, '20', '1')
    world.close('acme')
    world.close('swiss')
    return world


def closed(world, month='2026-10'):
    """Return the closed statements of a month, as writers get them."""
    with world.database.reader() as connection:
        found = [
            (entry, text)
            for account in ledger.account_ids(connection)
            for entry, text in ledger.each(connection, account)
            if entry.month == month
        ]
        return [
            writer.Statement(ledger.document(connection, entry.number), text.encode())
            for entry, text in found
        ]


def draft(world, account='open', month='2026-10'):
    """Return a draft, as writers get it."""
    content = world.draft(account, month).to_form()
    return writer.Statement(content, canonical.encode(content))
