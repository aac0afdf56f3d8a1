"""`.../hashmap/mappings`."""

import dataclasses
from types import SimpleNamespace

import pecan

from cloudkitty import errors
from cloudkitty.api import rest, types
from cloudkitty.api.v1 import stored
from cloudkitty.api.v1.hashmap import models
from cloudkitty.db import changes as kinds
from cloudkitty.db.hashmap import mapping_changes
from cloudkitty.db.hashmap import mappings as db_mappings

# What a new mapping is made of; the rest of a request is ignored.
_NEW = [field.name for field in dataclasses.fields(db_mappings.NewMapping)]
_FILTERS = {
    'service_id': types.key, 'field_id': types.key, 'group_id': types.key,
    'no_group': types.boolean, 'tenant_id': str, 'filter_tenant': types.boolean,
    'deleted': types.boolean, 'is_active': types.boolean, 'start': types.moment,
    'end': types.moment, 'created_by': str, 'updated_by': str, 'deleted_by': str,
    'description': str, 'all': types.boolean,
}


def collection(wanted: db_mappings.Wanted) -> SimpleNamespace:
    """Return the mappings that *wanted* describes, as in a MappingCollection."""
    return SimpleNamespace(mappings=stored.read(db_mappings.list_of, wanted, now=stored.now()))


class MappingLister(rest.Controller):
    """Mappings, those of a service if the path names one."""

    # WSME takes the names of the arguments from the signature.
    @rest.expose(models.MappingCollection, *_FILTERS.values())
    def get_all(self, service_id=None, field_id=None, group_id=None, no_group=False,
                tenant_id=None, filter_tenant=False, deleted=False, is_active=False, start=None,
                end=None, created_by=None, updated_by=None, deleted_by=None, description=None,
                all=True):
        return collection(db_mappings.Wanted(
            service_id=service_id, field_id=field_id, group_id=group_id, no_group=no_group,
            tenant_id=tenant_id, filter_tenant=filter_tenant, deleted=deleted, is_active=is_active,
            start=start, end=end, created_by=created_by, updated_by=updated_by,
            deleted_by=deleted_by, description=description, all=all))


class MappingGroup(rest.Controller):
    """The group of a mapping."""

    @rest.expose(models.Group, types.key)
    def get_all(self, mapping_id):
        return models.Group(**stored.read(db_mappings.group_of, mapping_id)._asdict())


class MappingsController(MappingLister):
    """`.../mappings`, and below each its group."""

    group = MappingGroup()

    @rest.expose(models.Mapping, types.key)
    def get_one(self, mapping_id):
        return stored.read(db_mappings.get, mapping_id)

    @rest.expose(models.Mapping, types.boolean, body=models.Mapping, status_code=201)
    def post(self, force=False, mapping_data=None):
        if mapping_data is None:
            raise errors.InvalidInput(reason='Missing argument: "mapping_data"')
        values = stored.given(mapping_data)
        new = db_mappings.NewMapping(**{name: values[name] for name in _NEW if name in values})
        mapping = stored.create(kinds.MAPPING, db_mappings.create, new, now=stored.now(),
                                author=stored.author(), force=bool(force))
        pecan.response.location = rest.location_of(mapping.mapping_id)
        return mapping

    @rest.expose(None, types.key, body=models.Mapping, status_code=302, is_empty=True)
    def put(self, mapping_id, mapping):
        changes = stored.given(mapping)
        changes.pop('mapping_id', None)
        stored.write(kinds.MAPPING, mapping_changes.update_mapping, mapping_id, changes,
                     now=stored.now(), author=stored.author())
        # Clients follow it and send the same PUT again, up to 30 times.
        pecan.response.location = rest.location_of()

    @rest.expose(None, types.key, status_code=204)
    def delete(self, mapping_id):
        stored.write(kinds.MAPPING, db_mappings.delete, mapping_id, now=stored.now(),
                     author=stored.author())
