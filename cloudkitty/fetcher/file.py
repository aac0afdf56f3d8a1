"""Scopes from a column of CSV or JSON-lines files."""

from oslo_config import cfg

from cloudkitty import errors, fetcher
from cloudkitty.clients import files


class FileFetcher(fetcher.BaseFetcher):
    """Lists the values of a column, possibly of the same files that have the usage."""

    name = 'file'
    GROUP = 'fetcher_file'
    OPTS = [
        cfg.ListOpt(
            'files',
            default=[],
            help='Files that name the scopes, .csv or .jsonl, also with .gz: paths, '
            'patterns such as ``/srv/usage/**/*.csv``, or directories.',
        ),
        cfg.StrOpt(
            'scope_attribute', default='project_id', help='Column that holds the id of a scope.'
        ),
    ]

    def __init__(self, conf, **arguments):
        super().__init__(conf, **arguments)
        if not self.options.files:
            raise errors.ConfigurationError(
                reason=f'[{self.group}]files is empty; allowed: paths of files or directories'
            )

    def get_tenants(self):
        try:
            return sorted(
                {
                    self._scope_of(version.path, record)
                    for version in files.find(self.options.files)
                    for record in files.read(version)
                }
            )
        except errors.SourceError as exc:
            raise errors.FetcherError(fetcher=self.name, reason=exc.facts['reason']) from exc

    def _scope_of(self, path, record):
        column = self.options.scope_attribute
        scope_id = record.fields.get(column)
        if not scope_id:
            raise errors.SourceError(
                reason=f'{path}:{record.line}: {record.problem or f"{column} is missing"}'
            )
        return scope_id
