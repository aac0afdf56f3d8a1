"""View of a statement in a language: the content of HTML and PDF files."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cloudkitty.core import decimals
from cloudkitty.core.billing import money, parts
from cloudkitty.core.billing.canonical import render
from cloudkitty.core.billing.statement import COUPON, FEE, LIST, MINIMUM, SHARED, USAGE
from cloudkitty.writer.languages import Language

View = dict[str, Any]
# After the point of quantities.
QUANTITY_DIGITS = 6
# Names of steps to messages; see core/billing/charges.
_STEPS = {
    'per': 'in units of {operand}: {result}',
    'free': '{operand} free, {result} left',
    'unit': '{operand} = {result}',
    'package': '{operand} = {result} (packages)',
    'rated': 'list price {operand}, charged {result}',
    'flat': 'fixed price {result}',
    'share': '{operand} of the month: {result}',
    'discount': 'less {operand}: {result}',
    'maximum': 'at most {operand}: {result}',
    'conversion': 'at a rate of {operand}: {result}',
}
_WHOLE = {'up': 'rounded up: {result}', 'down': 'rounded down: {result}'}
_AT_LIST = 'list price {operand}'
_TIER = 'tier {number}: {operand} = {result}'
_KINDS = {
    COUPON: 'Coupon',
    MINIMUM: 'Minimum charge',
    SHARED: 'Shared costs',
}
_TITLES = {'draft': 'Draft statement', 'closed': 'Statement', 'void': 'Cancellation'}
# All messages of documents, apart from those above.
LABELS = (
    'Account',
    'Amount',
    'Closed on',
    'Cancels',
    'Conversion rate',
    'Corrections of {month}',
    'Credit {note}',
    'Currency',
    'Description',
    'Due',
    'General',
    'Less: plan and discounts',
    'List price',
    'Net amount',
    'Number',
    'Page {number} of {count}',
    'Period',
    'Plan',
    'Prices in the plan',
    'Project {scope}',
    'Quantity',
    'Reason',
    'Subtotal',
    'Summary',
    'Tax {code}, {percent} % of {base}',
    'This month is not closed: amounts may still change.',
    'Time zone',
    'Total',
    'at list price',
    'of it, not booked before: {amount}',
    'of it, this project: {amount}',
    '{begin} to {end}',
)
MESSAGES = sorted(
    {
        *LABELS,
        *_STEPS.values(),
        *_WHOLE.values(),
        _TIER,
        _AT_LIST,
        *_KINDS.values(),
        *_TITLES.values(),
    }
)


def make(content: Mapping[str, Any], language: Language) -> View:
    """Return the view of a statement (JSON): texts only, ready to be laid out."""
    say = language.text
    return {
        'language': language.name,
        'title': say(_TITLES[content['state']]),
        'is_draft': content['state'] == 'draft',
        'number': content.get('number') or '',
        'issuer': content.get('issuer', '').splitlines(),
        'account': content['account']['name'],
        'currency': content['currency'],
        'facts': _facts(content, language),
        'labels': {
            name: say(name)
            for name in ('Description', 'Quantity', 'List price', 'Amount', 'Summary', 'Subtotal')
        },
        'draft': say('This month is not closed: amounts may still change.'),
        'blockers': content.get('blockers', []),
        'groups': list(_groups(content, language)),
        'totals': list(_totals(content, language)),
        'page': say('Page {number} of {count}', number='\0', count='\1'),
    }


def _facts(content: Mapping[str, Any], language: Language) -> list[tuple[str, str]]:
    say, zone = language.text, content['zone']
    begin, end = (datetime.fromisoformat(content[name]) for name in ('begin', 'end'))
    period = say(
        '{begin} to {end}', begin=language.day(begin, zone), end=language.last_day(end, zone)
    )
    account = content['account']
    name = account['name']
    found = [
        ('Number', content.get('number')),
        ('Account', name if name == account['id'] else f'{name} ({account["id"]})'),
        ('Period', period),
        ('Time zone', zone),
        ('Plan', content['plan'] or say('at list price')),
        ('Cancels', content.get('voids')),
        ('Reason', content.get('reason')),
        ('Currency', content['currency']),
    ]
    if content.get('closed_at'):
        closed = datetime.fromisoformat(content['closed_at'])
        found.insert(3, ('Closed on', language.day(closed, zone)))
    if content['currency'] != content['price_currency']:
        found.append(('Prices in the plan', content['price_currency']))
        found.append(('Conversion rate', language.number(content['conversion_rate'])))
    return [(say(label), value) for label, value in found if value]


def _groups(content: Mapping[str, Any], language: Language) -> Iterable[View]:
    """Yield the lines by month and project: this month first, what is about no project last."""
    groups: dict[tuple[bool, str, bool, str], list[Mapping[str, Any]]] = {}
    for line in content['lines']:
        scope = line['scope_id']
        key = (line['correction'], line['month'], scope is None, scope or '')
        groups.setdefault(key, []).append(line)
    digits = len(content['net'].partition('.')[2])
    for (is_correction, month, is_general, scope), lines in sorted(
        groups.items(), key=lambda item: item[0]
    ):
        title = language.text('General')
        if not is_general:
            title = language.text('Project {scope}', scope=_named(content, scope))
        if is_correction:
            about = language.text('Corrections of {month}', month=language.month(month))
            title = f'{about}: {title}'
        whole = sum((Fraction(line['amount']) for line in lines), Fraction(0))
        yield {
            'title': title,
            'lines': [_line(line, content, language) for line in lines],
            'subtotal': language.number(render(money.round_amount(whole, digits))),
        }


def _named(content: Mapping[str, Any], scope: str) -> str:
    """Return a scope as people know it; statements of earlier releases have no names."""
    name = content.get('names', {}).get(scope, scope)
    return scope if name == scope else f'{name} ({scope})'


def _line(line: Mapping[str, Any], content: Mapping[str, Any], language: Language) -> View:
    is_usage = line['kind'] == USAGE
    other = content['price_currency'] if content['price_currency'] != content['currency'] else ''
    pairs = [f'{name}: {value}' for name, value in line['key'].items() if line['item'] != LIST]
    return {
        'title': _title(line, language),
        'attributes': ', '.join(pairs),
        'steps': _steps(line, content, language),
        'quantity': _quantity(line, language) if is_usage else '',
        'list': f'{language.number(line["list"])} {other}'.strip() if is_usage else '',
        'amount': language.number(line['amount']),
    }


def _quantity(line: Mapping[str, Any], language: Language) -> str:
    """Return the quantity in units of the price; the steps have its other digits."""
    whole = Fraction(line['quantity']) / parts.per(line)
    shown = decimals.trim(money.round_amount(whole, QUANTITY_DIGITS))
    sign = '' if Fraction(shown) == whole else '≈ '
    return f'{sign}{language.number(render(shown))} {line["unit"]}'.strip()


def _title(line: Mapping[str, Any], language: Language) -> str:
    kind = _KINDS.get(line['kind'])
    if line['item'] == LIST:
        return f'{line["metric"]} ({language.text("at list price")})'
    if kind is None:
        return str(line['item'])
    if line['item'] in (COUPON, 'statement', SHARED):
        return language.text(kind)
    return f'{language.text(kind)}: {line["item"]}'


def _steps(line: Mapping[str, Any], content: Mapping[str, Any], language: Language) -> list[str]:
    """Return the calculation of the amount of a line."""
    if line['kind'] not in (USAGE, FEE) or not line['steps']:
        return []
    found = [_step(step, language) for step in line['steps']]
    rate, last = content['conversion_rate'], Fraction(line['steps'][-1]['result'])
    if content['currency'] != content['price_currency'] and not parts.has_own_rate(line):
        last *= Fraction(rate)
        result = render(money.to_exact(last))
        found.append(_step({'name': 'conversion', 'operand': rate, 'result': result}, language))
    if money.to_exact(last) != Decimal(line['exact']):
        # The steps are those of all projects that are priced together, and of the whole month.
        message = 'of it, this project: {amount}'
        if line['correction']:
            message = 'of it, not booked before: {amount}'
        found.append(language.text(message, amount=language.number(line['exact'])))
    return found


def _step(step: Mapping[str, str], language: Language) -> str:
    name, result = step['name'], language.number(step['result'])
    if name == 'whole':
        return language.text(_WHOLE[step['operand']], result=result)
    operand = _operand(step['operand'], language)
    if name == 'rated' and step['operand'] == step['result']:
        return language.text(_AT_LIST, operand=operand)
    if name.startswith('tier-'):
        return language.text(
            _TIER, number=name.removeprefix('tier-'), operand=operand, result=result
        )
    message = _STEPS.get(name)
    return (
        f'{name} {operand}: {result}'
        if message is None
        else language.text(message, operand=operand, result=result)
    )


def _operand(text: str, language: Language) -> str:
    """Return an operand with its numbers as the language writes them."""
    return ' '.join(
        '×' if word == 'x' else language.number(word) if _is_number(word) else word
        for word in text.split()
    )


def _is_number(word: str) -> bool:
    return word.removeprefix('-').replace('.', '', 1).isdecimal()


def _totals(content: Mapping[str, Any], language: Language) -> Iterable[tuple[str, str, bool]]:
    """Yield label, amount, and whether it is emphasized."""
    say, number = language.text, language.number
    if content['currency'] == content['price_currency']:
        yield say('List price'), number(content['list']), False
        yield say('Less: plan and discounts'), number(content['adjustment']), False
    yield say('Net amount'), number(content['net']), True
    for tax in content['taxes']:
        facts = {
            'code': tax['code'],
            'percent': number(tax['percent']),
            'base': number(tax['base']),
        }
        yield say('Tax {code}, {percent} % of {base}', **facts), number(tax['amount']), False
    yield say('Total'), f'{number(content["total"])} {content["currency"]}', True
    credits: Sequence[Mapping[str, str]] = content.get('credits', ())
    for credit in credits:
        yield say('Credit {note}', note=credit['note']), number(f'-{credit["amount"]}'), False
    if credits:
        yield say('Due'), f'{number(content["due"])} {content["currency"]}', True
