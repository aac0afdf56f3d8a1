"""Scopes from an attribute of Gnocchi's resources."""

from oslo_config import cfg

from cloudkitty import errors, fetcher
from cloudkitty.clients import gnocchi

EVERY_TYPE = 'generic'


class GnocchiFetcher(fetcher.BaseFetcher):
    """Lists the values of an attribute in all resources, including ended ones.

    Source: doc/source/contributor/compatibility/collection.rst, "Fetcher: gnocchi".
    """

    name = 'gnocchi'
    GROUP = 'fetcher_gnocchi'
    OPTS = [
        cfg.StrOpt(
            'scope_attribute',
            default='project_id',
            help='Attribute of a resource that holds the id of its scope.',
        ),
        cfg.ListOpt(
            'resource_types',
            default=[EVERY_TYPE],
            help='Types of the resources to search; generic, or none: every type.',
        ),
        *gnocchi.OPTS,
    ]

    def __init__(self, conf, **arguments):
        super().__init__(conf, **arguments)
        self.client = gnocchi.Client(conf, self.group)

    def get_tenants(self):
        found = set()
        try:
            for resource_type in self.options.resource_types or [EVERY_TYPE]:
                found |= self._scopes_of(resource_type)
        except errors.CollectError as exc:
            raise errors.FetcherError(fetcher=self.name, reason=exc.facts['reason']) from exc
        # A resource without the attribute, or with an empty one, belongs to no scope.
        return sorted(found - {''})

    def _scopes_of(self, resource_type):
        name = self.options.scope_attribute
        # Attributes of derived types are details of the type `generic`.
        for details in (False, True):
            found, is_empty = self._values(resource_type, name, details)
            if found or is_empty:
                return {str(value) for value in found if value is not None}
        raise errors.FetcherError(
            fetcher=self.name,
            reason=f'{self.client.name}: no resource of '
            f'type {resource_type!r} has an attribute {name!r}',
        )

    def _values(self, resource_type, name, details):
        """Return the values of the attribute, and whether there are no resources."""
        values, is_empty = set(), True
        for row in self.client.search(resource_type, {}, attributes=['id', name], details=details):
            is_empty = False
            if name in row:
                values.add(row[name])
        return values, is_empty
