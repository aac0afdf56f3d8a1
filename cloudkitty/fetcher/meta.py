"""Scopes of several fetchers at once."""

from oslo_config import cfg

from cloudkitty import errors, fetcher, plugins


class MetaFetcher(fetcher.BaseFetcher):
    """Unite the lists of several fetchers.

    A scope that several list is one scope. When one of them fails the whole list fails, or its
    scopes would vanish.
    """

    name = 'meta'
    GROUP = 'fetcher_meta'
    OPTS = [cfg.ListOpt('fetchers', default=[],
                        help='Fetchers whose lists are united: names of drivers, or of sections '
                             '[fetcher_NAME] with the option driver.')]

    def __init__(self, conf, **arguments):
        super().__init__(conf, **arguments)
        found = plugins.find_all(conf, self.options.fetchers, namespace=fetcher.NAMESPACE,
                                 family=fetcher.FAMILY, group=self.group, option='fetchers')
        nested = [instance.name for instance in found if issubclass(instance.driver, MetaFetcher)]
        if nested:
            raise errors.ConfigurationError(
                reason=f'[{self.group}]fetchers: {nested[0]!r} has several fetchers itself')
        self._members = [fetcher.build(conf, instance) for instance in found]

    def get_tenants(self):
        return list(dict.fromkeys(scope_id for member in self._members
                                  for scope_id in self._list(member)))

    def _list(self, member):
        try:
            return member.get_tenants()
        # A foreign driver may raise anything.
        except Exception as exc:
            is_known = isinstance(exc, errors.SourceError)
            raise errors.FetcherError(
                fetcher=member.name,
                reason=exc.facts['reason'] if is_known else errors.describe(exc)) from exc
