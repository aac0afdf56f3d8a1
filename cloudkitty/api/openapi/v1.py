"""Operations of v1, from the WSME signatures of its controllers and the routing of pecan.

Only the recommended use is described: arguments are path segments or query parameters, and members
of a body if the method has one, although v1 accepts each of them anywhere.
"""

from collections.abc import Iterator
from typing import NamedTuple

from cloudkitty.api import rest
from cloudkitty.api.openapi.operation import Operation, in_path, in_query
from cloudkitty.api.openapi.wsme import Models

ROOT = '/v1'
OLD_PATHS = ('/v1/billing', '/v1/info/services', '/v1/collector/{name}/states')
ONE = ('get_one', 'get', 'post', 'put', 'patch', 'delete')


class _MountPoint(NamedTuple):
    """Where a controller is mounted.

    :ivar arguments: how many of its methods' arguments the path contains already.
    :ivar rule: policy rule that guards all below.
    """

    path: str
    arguments: int = 0
    rule: str | None = None
    is_deprecated: bool = False

    def below(self, path: str) -> '_MountPoint':
        """Return the mount point of a child."""
        whole = f'{self.path}/{path}'
        return self._replace(
            path=whole,
            arguments=self.arguments + path.count('{'),
            is_deprecated=self.is_deprecated or whole in OLD_PATHS,
        )


def operations(controller, models: Models) -> Iterator[Operation]:
    """Yield each method of each path below `/v1`."""
    return _below(controller, _MountPoint(ROOT), models)


def _below(controller, mount, models):
    mount = mount._replace(rule=getattr(controller, 'rule', mount.rule))
    for method, names in rest.REST_METHODS.items():
        for name in names:
            definition = getattr(getattr(controller, name, None), '_wsme_definition', None)
            if definition is not None:
                yield from _forms(method, getattr(controller, name), mount, models)
    for name, child in _mounts(controller).items():
        yield from _below(child, mount.below(name), models)
        members = _member_path(controller, mount)
        if members and '{' not in name:
            yield from _below(child, mount.below(members).below(name), models)


def _mounts(controller):
    """Return the controllers below one; a controller of a plug-in need not have mounts()."""
    mounts = getattr(controller, 'mounts', None)
    return mounts() if mounts else rest.children_of(controller)


def _member_path(controller, mount):
    """Return the path of one member of a collection, relative to it; empty if there is none."""
    for name in ('get_one', 'get'):
        definition = getattr(getattr(controller, name, None), '_wsme_definition', None)
        if definition is not None:
            return _variables(_own_arguments(definition, mount))
    return ''


def _own_arguments(definition, mount):
    """Return the arguments that the path of one member adds: the mandatory ones."""
    arguments = definition.arguments[:-1] if definition.body_type else definition.arguments
    return [argument for argument in arguments[mount.arguments :] if argument.mandatory]


def _variables(arguments):
    return '/'.join(f'{{{argument.name}}}' for argument in arguments)


def _forms(method, function, mount, models):
    """Yield the paths of one function."""
    definition = function._wsme_definition
    name = function.__name__
    own = _own_arguments(definition, mount)
    if name != 'get_one' or not own:
        yield _operation(method, function, mount, models)
    if name in ONE and own:
        yield _operation(method, function, mount.below(_variables(own)), models)


def _operation(method, function, mount, models):
    definition = function._wsme_definition
    has_body = definition.body_type is not None
    arguments = definition.arguments[:-1] if has_body else definition.arguments
    in_paths, others = arguments[: mount.arguments], arguments[mount.arguments :]
    # Clients name the object to change or delete in the query or in the body.
    may_be_in_body = bool(others) and method != 'GET' and not has_body
    parameters = [
        in_path(argument.name, models.schema(argument.datatype, is_input=True))
        for argument in in_paths
    ]
    parameters += [
        in_query(
            argument.name,
            models.schema(argument.datatype, is_input=True),
            is_required=argument.mandatory and method == 'GET',
        )
        for argument in others
    ]
    body = None
    if has_body:
        body = models.schema(definition.body_type, is_input=True)
    elif may_be_in_body:
        body = {
            'type': 'object',
            'additionalProperties': False,
            'properties': {
                argument.name: models.schema(argument.datatype, is_input=True)
                for argument in others
            },
        }
    status, answer = _answer(definition, models)
    return Operation(
        mount.path,
        method,
        getattr(function, 'rule', None) or mount.rule,
        parameters=tuple(parameters),
        body=body,
        is_body_required=has_body,
        status=status,
        answer=answer,
        is_deprecated=mount.is_deprecated,
    )


def _answer(definition, models):
    """Return status and schema of the successful response of rest.expose()."""
    status = definition.status_code
    if status == 204 or (definition.return_type is None and status == 200):
        return 204, None
    if (definition.extra_options or {}).get('is_empty'):
        return status, None
    if definition.return_type is None:
        return status, {'type': 'null'}
    return status, models.schema(definition.return_type, is_input=False)
