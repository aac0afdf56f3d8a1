"""`/v1/collector`: which collector serves a service, and which collectors are switched on."""

import pecan
import webob.exc
from wsme import types as wtypes

from cloudkitty import errors
from cloudkitty.api import rest, types
from cloudkitty.collector import preferences

_name = types.Text(preferences.NAME_LENGTH_MAX, 1)
_state_name = types.Text(preferences.NAME_LENGTH_MAX - len(preferences.STATE_PREFIX), 1)


class Mapping(wtypes.Base):
    """The collector of a service."""

    service = wtypes.wsattr(str)
    collector = wtypes.wsattr(str)


class MappingCollection(wtypes.Base):
    mappings = [Mapping]


class State(wtypes.Base):
    """Whether a collector is switched on."""

    name = wtypes.wsattr(_state_name)
    enabled = wtypes.wsattr(types.boolean, mandatory=True)


def _read(query, *arguments):
    with pecan.request.services.database.reader() as connection:
        return query(connection, *arguments)


def _write(change, *arguments):
    pecan.request.services.database.write(lambda connection: change(connection, *arguments))


class MappingsController(rest.Controller):
    """`/v1/collector/mappings`."""

    @rest.expose(MappingCollection, str, rule='collector:list_mappings')
    def get_all(self, collector=None):
        return MappingCollection(
            mappings=[
                Mapping(**mapping._asdict())
                for mapping in _read(preferences.list_mappings, collector)
            ]
        )

    @rest.expose(Mapping, str, rule='collector:get_mapping')
    def get_one(self, service):
        return Mapping(**_read(preferences.get_mapping, service)._asdict())

    @rest.expose(Mapping, _name, _name, rule='collector:manage_mapping')
    def post(self, collector, service):
        mapping = preferences.Mapping(
            service=_text('service', service), collector=_text('collector', collector)
        )
        _write(preferences.set_mapping, mapping)
        return Mapping(**mapping._asdict())

    @rest.expose(None, str, rule='collector:manage_mapping', status_code=204)
    def delete(self, service):
        _write(preferences.delete_mapping, service)


class StatesController(rest.Controller):
    """`/v1/collector/states`; the name of the collector may also come before `states`."""

    @rest.expose(State, _state_name, rule='collector:get_state')
    def get(self, name):
        return State(name=name, enabled=_read(preferences.is_enabled, _text('name', name)))

    @rest.expose(State, _state_name, body=State, rule='collector:update_state')
    def put(self, name, state):
        _write(preferences.set_enabled, _text('name', name), state.enabled)
        return State(name=name, enabled=state.enabled)


def _text(name, value):
    """Return *value*; null counts as missing."""
    if value is None:
        raise errors.InvalidInput(reason=f'Missing argument: "{name}"')
    return value


class CollectorController(rest.Controller):
    """`/v1/collector`."""

    mappings = MappingsController()
    states = StatesController()

    @pecan.expose()
    def _route(self, args, request=None):
        if any(args) and args[0] not in ('mappings', 'states'):
            if args[1:2] != ['states']:
                raise webob.exc.HTTPNotFound()
            return rest.descend(self.states, [args[0], *args[2:]], request)
        return super()._route(args, request)

    def mounts(self):
        return super().mounts() | {'{name}/states': self.states}

    @rest.expose(None, status_code=204)
    def get_all(self):
        """Answer 204: there is no content at this path."""
