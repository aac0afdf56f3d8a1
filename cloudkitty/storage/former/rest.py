"""Client of the REST API of an earlier release, for comparisons of two bills."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from cloudkitty.clients import keystone
from cloudkitty.core.timeframe import Period
from cloudkitty.storage import former, http

# Section of the account that gets a token for it.
GROUP = 'compare'
OPTS = keystone.OPTS
# The largest page that every store of the earlier releases gives whole.
PAGE_ROWS = 1000
PAGES_MAX = 10_000


class Amount(NamedTuple):
    """A billed amount.

    :ivar qty: None: the interface does not return it.
    :ivar points: how many points it is the sum of; 0: unknown.
    """

    qty: Decimal | None
    price: Decimal
    points: int = 0


# By scope id and metric.
Amounts = Mapping[tuple[str, str], Amount]


class FormerAPI:
    """The API of an earlier release.

    :param token: returns the token to send, None: none.
    :param scope_key: attribute that names the scope.
    :param is_v1: use version 1, which returns prices only.
    """

    def __init__(
        self,
        server: http.Server,
        token: Callable[[], str | None],
        *,
        scope_key: str,
        is_v1: bool = False,
    ) -> None:
        self._server = server
        self._token = token
        self.scope_key = scope_key
        self.is_v1 = is_v1

    def amounts(
        self, window: Period, scope_id: str | None = None, metric: str | None = None
    ) -> Amounts:
        """Return what is billed for the periods that begin in *window*; None: for all of them.

        :raises SourceError: the API does not answer as it should, or not all of it.
        """
        if self.is_v1:
            return self._amounts_v1(window, scope_id, metric)
        parameters: list[tuple[str, str]] = [
            ('groupby', self.scope_key),
            ('groupby', 'type'),
            *self._chosen(window, scope_id, metric),
        ]
        found: dict[tuple[str, str], Amount] = {}
        for row in self._rows('v2/summary', parameters, 'results'):
            # InfluxDB answers a row of nulls where there is nothing.
            if row['qty'] is None or row['rate'] is None or row['type'] is None:
                continue
            key = row[self.scope_key] or '', row['type']
            found[key] = Amount(
                former.number(row['qty'], str(key)), former.number(row['rate'], str(key))
            )
        return found

    def count_points(self, window: Period, scope_id: str, metric: str) -> int | None:
        """Return how many points of a metric of a scope begin in *window*; None: unknown."""
        if self.is_v1:
            return None
        answer = self._ask(
            'v2/dataframes', [('limit', '1'), *self._chosen(window, scope_id, metric)]
        )
        total = answer.get('total')
        return total if isinstance(total, int) else None

    def _chosen(
        self, window: Period, scope_id: str | None, metric: str | None
    ) -> list[tuple[str, str]]:
        chosen = [('begin', _naive(window.begin)), ('end', _naive(window.end))]
        for name, value in ((self.scope_key, scope_id), ('type', metric)):
            if value:
                chosen.append(('filters', f'{name}:{value}'))
        return chosen

    def _rows(
        self, path: str, parameters: Sequence[tuple[str, str]], key: str
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of all pages of a table.

        :raises SourceError: there are fewer than the API says, or pages without end.
        """
        count = 0
        for _ in range(PAGES_MAX):
            answer = self._ask(
                path, [*parameters, ('limit', str(PAGE_ROWS)), ('offset', str(count))]
            )
            try:
                total, columns, rows = answer['total'], answer['columns'], answer[key]
                page = [dict(zip(columns, row, strict=True)) for row in rows]
            except (LookupError, TypeError, ValueError) as exc:
                raise self._server.error('the answer is not from CloudKitty') from exc
            yield from page
            count += len(page)
            if count >= total:
                return
            if not page:
                break
        raise self._server.error(f'the API returned {count} rows instead of {total}')

    def _amounts_v1(
        self, window: Period, scope_id: str | None, metric: str | None
    ) -> dict[tuple[str, str], Amount]:
        chosen = [('tenant_id', scope_id)] if scope_id else [('all_tenants', 'true')]
        answer = self._ask(
            'v1/report/summary',
            [
                ('groupby', 'tenant_id,res_type'),
                ('begin', _naive(window.begin)),
                ('end', _naive(window.end)),
                *chosen,
            ],
        )
        try:
            return {
                (row['tenant_id'] or '', row['res_type']): Amount(
                    None, former.number(row['rate'], row['res_type'])
                )
                for row in answer['summary']
                if metric in (None, row['res_type'])
            }
        except (LookupError, TypeError) as exc:
            raise self._server.error('the answer is not from CloudKitty') from exc

    def _ask(self, path: str, parameters: Sequence[tuple[str, str]]) -> Any:
        token = self._token()
        answer = self._server.ask(
            'GET',
            path,
            params=parameters,
            headers={'Accept': 'application/json', **({'X-Auth-Token': token} if token else {})},
        )
        if not isinstance(answer, dict):
            raise self._server.error('the answer is not from CloudKitty')
        return answer


def _naive(instant: Any) -> str:
    # Some releases refuse an offset.
    return f'{instant:%Y-%m-%dT%H:%M:%S}'
