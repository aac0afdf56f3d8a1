"""Union of the scopes of several fetchers."""

from oslo_config import cfg

from cloudkitty import errors, fetcher, plugins


class MetaFetcher(fetcher.BaseFetcher):
    """Merges the lists of several fetchers.

    A scope that several fetchers list is one scope. If one fetcher fails the whole list fails,
    because its scopes would count as vanished.
    """

    name = 'meta'
    GROUP = 'fetcher_meta'
    OPTS = [
        cfg.ListOpt(
            'fetchers',
            default=[],
            help='Fetchers whose lists of scopes are combined: names of drivers, or of sections '
            '[fetcher_NAME] with the option driver.',
        )
    ]

    def __init__(self, conf, **arguments):
        super().__init__(conf, **arguments)
        found = plugins.find_all(
            conf,
            self.options.fetchers,
            namespace=fetcher.NAMESPACE,
            family=fetcher.FAMILY,
            group=self.group,
            option='fetchers',
        )
        nested = [instance.name for instance in found if issubclass(instance.driver, MetaFetcher)]
        if nested:
            raise errors.ConfigurationError(
                reason=f'[{self.group}]fetchers: {nested[0]!r} has several fetchers itself'
            )
        self._members = [fetcher.build(conf, instance) for instance in found]

    def get_tenants(self):
        return list(
            dict.fromkeys(scope_id for member in self._members for scope_id in self._list(member))
        )

    def get_names(self):
        names = {}
        # The first fetcher that lists a scope gives it its name.
        for member in reversed(self._members):
            names.update(member.get_names())
        return names

    def get_groups(self):
        groups = {}
        for member in reversed(self._members):
            groups.update(member.get_groups())
        return groups

    def _list(self, member):
        try:
            return member.get_tenants()
        # A third-party driver may raise anything.
        except Exception as exc:
            is_known = isinstance(exc, errors.SourceError)
            raise errors.FetcherError(
                fetcher=member.name,
                reason=exc.facts['reason'] if is_known else errors.describe(exc),
            ) from exc
