"""A fetcher: the customers that a web service lists are the scopes to rate."""

import requests
from oslo_config import cfg

from cloudkitty import errors, fetcher


class CustomersFetcher(fetcher.BaseFetcher):
    """Reads `{"customers": ["id", ...]}` from a URL."""

    name = 'customers'
    GROUP = 'fetcher_customers'
    OPTS = [
        cfg.URIOpt('url', required=True, help='URL of the list of customers.'),
        cfg.IntOpt('timeout', default=30, min=1, help='Seconds to wait for the answer.'),
    ]

    def get_tenants(self) -> list[str]:
        # An empty list would say that there are no customers, so every failure is an error.
        try:
            answer = requests.get(self.options.url, timeout=self.options.timeout)
            answer.raise_for_status()
            customers = answer.json()['customers']
        except (requests.RequestException, ValueError, LookupError, TypeError) as exc:
            raise errors.FetcherError(fetcher=self.name, reason=str(exc)) from exc
        if not isinstance(customers, list) or not all(isinstance(one, str) for one in customers):
            raise errors.FetcherError(fetcher=self.name, reason='customers is not a list of ids')
        return customers
