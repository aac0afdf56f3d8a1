"""Sphinx directive that renders the description of the API: `.. rest-reference:: TAG ...`.

Without an argument it renders the types that requests and answers consist of.
"""

import json
from collections.abc import Iterator, Mapping

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from cloudkitty.api import root


class RestReference(SphinxDirective):
    """The operations whose tag starts with the argument."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        document = root.RootController().description
        lines = (
            _operations(document, self.arguments[0])
            if self.arguments
            else _types(document['components']['schemas'])
        )
        return self.parse_text_to_nodes('\n'.join(lines))


def _operations(document: Mapping, tag: str) -> Iterator[str]:
    for path, operations in document['paths'].items():
        for method, operation in operations.items():
            is_asked_for = any(known.startswith(tag) for known in operation['tags'])
            if is_asked_for and not operation.get('deprecated'):
                yield from _operation(f'{method.upper()} {path}', operation)


def _operation(name: str, operation: Mapping) -> Iterator[str]:
    yield from ('', f'``{name}``', '')
    if 'summary' in operation:
        yield from (f'   {operation["summary"]}', f'   Policy ``{operation["x-policy"]}``.', '')
    facts = [
        (
            f'{parameter["in"]} ``{parameter["name"]}``' + ', required' * parameter['required'],
            parameter['schema'],
        )
        for parameter in operation.get('parameters', ())
    ]
    if 'requestBody' in operation:
        facts.append(('body', _schema(operation['requestBody'])))
    for status, answer in operation['responses'].items():
        if not status.endswith('XX') and status != '401':
            facts.append((status, _schema(answer)))
    for what, schema in facts:
        yield f'   * {what}: {_words(schema)}'
    yield ''


def _schema(holder: Mapping) -> Mapping | None:
    content = holder.get('content', {})
    return next((kind['schema'] for kind in content.values()), None)


def _words(schema: Mapping | None) -> str:
    return 'no body' if schema is None else f'``{_short(schema)}``'


def _short(schema: Mapping) -> str:
    """Return a schema in one line."""
    if '$ref' in schema:
        return schema['$ref'].rpartition('/')[2]
    for several in ('anyOf', 'oneOf'):
        if several in schema:
            return ' or '.join(map(_short, schema[several]))
    if 'const' in schema or 'enum' in schema:
        return ' or '.join(json.dumps(value) for value in schema.get('enum', [schema.get('const')]))
    if 'properties' in schema:
        members = ', '.join(
            f'{name}: {_short(member)}' for name, member in schema['properties'].items()
        )
        return f'{{{members}}}'
    if 'items' in schema:
        return f'[{_short(schema["items"])}]'
    return _plain(schema)


def _plain(schema: Mapping) -> str:
    kinds = schema.get('type', 'anything')
    words = (
        'time'
        if schema.get('format') == 'date-time'
        else (kinds if isinstance(kinds, str) else ' or '.join(kinds))
    )
    bounds = [
        f'{sign} {schema[name]}'
        for name, sign in (('minimum', '>='), ('maximum', '<='))
        if name in schema
    ]
    return ' '.join([words, *bounds])


def _types(schemas: Mapping) -> Iterator[str]:
    for name, schema in schemas.items():
        yield from ('', f'``{name}``', '', '   .. code-block:: json', '')
        yield from (f'      {line}' for line in json.dumps(schema, indent=2).splitlines())
        yield ''


def setup(app) -> dict:
    app.add_directive('rest-reference', RestReference)
    return {'parallel_read_safe': True}
