"""`.../hashmap/mappings`."""

from types import SimpleNamespace

import pecan

from cloudkitty import errors
from cloudkitty.api import rest, types
from cloudkitty.api.v1 import crud
from cloudkitty.api.v1.hashmap import models
from cloudkitty.audit import snapshots as kinds
from cloudkitty.core import timeframe
from cloudkitty.rating.hashmap.store import mapping_changes
from cloudkitty.rating.hashmap.store import mappings as db_mappings

# Response header of a deleted mapping: the time of its deletion.
DELETED = 'X-CloudKitty-Deleted'
_FILTERS = {
    'service_id': types.key,
    'field_id': types.key,
    'group_id': types.key,
    'no_group': types.boolean,
    'tenant_id': str,
    'filter_tenant': types.boolean,
    'deleted': types.boolean,
    'is_active': types.boolean,
    'start': types.moment,
    'end': types.moment,
    'created_by': str,
    'updated_by': str,
    'deleted_by': str,
    'description': str,
    'all': types.boolean,
}


def collection(wanted: db_mappings.Wanted) -> SimpleNamespace:
    """Return the mappings that match *wanted*, as a MappingCollection."""
    return SimpleNamespace(mappings=crud.read(db_mappings.list_of, wanted, now=crud.now()))


class MappingLister(rest.Controller):
    """Lists mappings, only those of a service if the path names one."""

    # WSME takes the names of the arguments from the signature.
    @rest.expose(models.MappingCollection, *_FILTERS.values())
    def get_all(
        self,
        service_id=None,
        field_id=None,
        group_id=None,
        no_group=False,
        tenant_id=None,
        filter_tenant=False,
        deleted=False,
        is_active=False,
        start=None,
        end=None,
        created_by=None,
        updated_by=None,
        deleted_by=None,
        description=None,
        all=True,
    ):
        return collection(
            db_mappings.Wanted(
                service_id=service_id,
                field_id=field_id,
                group_id=group_id,
                no_group=no_group,
                tenant_id=tenant_id,
                filter_tenant=filter_tenant,
                deleted=deleted,
                is_active=is_active,
                start=start,
                end=end,
                created_by=created_by,
                updated_by=updated_by,
                deleted_by=deleted_by,
                description=description,
                all=all,
            )
        )


class MappingGroup(rest.Controller):
    """The group of a mapping."""

    @rest.expose(models.Group, types.key)
    def get_all(self, mapping_id):
        return models.Group(**crud.read(db_mappings.group_of, mapping_id)._asdict())


class MappingsController(MappingLister):
    """`.../mappings`, and below each its group."""

    group = MappingGroup()

    @rest.expose(models.Mapping, types.key)
    def get_one(self, mapping_id):
        mapping = crud.read(db_mappings.get, mapping_id)
        # A client that checks only the status would take it for an existing one.
        if mapping.deleted:
            pecan.response.headers[DELETED] = timeframe.render(mapping.deleted)
        return mapping

    @rest.expose(models.Mapping, types.boolean, body=models.Mapping, status_code=201)
    def post(self, force=False, mapping_data=None):
        if mapping_data is None:
            raise errors.InvalidInput(reason='Missing argument: "mapping_data"')
        mapping = crud.create(
            kinds.MAPPING,
            db_mappings.create,
            crud.new(db_mappings.NewMapping, mapping_data),
            now=crud.now(),
            author=crud.author(),
            force=bool(force),
        )
        pecan.response.location = rest.location_of(mapping.mapping_id)
        return mapping

    @rest.expose(None, types.key, body=models.Mapping, status_code=302, is_empty=True)
    def put(self, mapping_id, mapping):
        changes = crud.given(mapping)
        changes.pop('mapping_id', None)
        crud.write(
            kinds.MAPPING,
            mapping_changes.update_mapping,
            mapping_id,
            changes,
            now=crud.now(),
            author=crud.author(),
        )
        # Clients follow it and send the same PUT again, up to 30 times.
        pecan.response.location = rest.location_of()

    @rest.expose(None, types.key, status_code=204)
    def delete(self, mapping_id):
        crud.write(
            kinds.MAPPING, db_mappings.delete, mapping_id, now=crud.now(), author=crud.author()
        )
