"""`.../hashmap/services` and `.../hashmap/fields`."""

import pecan

from cloudkitty.api import rest, types
from cloudkitty.api.v1 import crud
from cloudkitty.api.v1.hashmap import mappings, models
from cloudkitty.audit import snapshots as kinds
from cloudkitty.rating.hashmap.store import fields as db_fields
from cloudkitty.rating.hashmap.store import services as db_services


class FieldLister(rest.Controller):
    """The fields of a service."""

    @rest.expose(models.FieldCollection, types.key)
    def get_all(self, service_id):
        found = crud.read(db_fields.list_of, service_id)
        return models.FieldCollection(fields=[models.Field(**field._asdict()) for field in found])


class FieldsController(FieldLister):
    """`.../fields`."""

    @rest.expose(models.Field, types.key)
    def get_one(self, field_id):
        return models.Field(**crud.read(db_fields.get, field_id)._asdict())

    @rest.expose(models.Field, body=models.Field, status_code=201)
    def post(self, field_data):
        field = crud.create(kinds.FIELD, db_fields.create, field_data.name, field_data.service_id)
        pecan.response.location = rest.location_of(field.field_id)
        return models.Field(**field._asdict())

    @rest.expose(None, types.key, status_code=204)
    def delete(self, field_id):
        crud.write(kinds.FIELD, db_fields.delete, field_id, now=crud.now(), author=crud.author())


class ServicesController(rest.Controller):
    """`.../services`, and below each its fields and mappings."""

    fields = FieldLister()
    mappings = mappings.MappingLister()

    @rest.expose(models.ServiceCollection)
    def get_all(self):
        found = crud.read(db_services.list_all)
        return models.ServiceCollection(
            services=[models.Service(**service._asdict()) for service in found]
        )

    @rest.expose(models.Service, types.key)
    def get_one(self, service_id):
        return models.Service(**crud.read(db_services.get, service_id)._asdict())

    @rest.expose(models.Service, body=models.Service, status_code=201)
    def post(self, service_data):
        service = crud.create(kinds.SERVICE, db_services.create, service_data.name)
        pecan.response.location = rest.location_of(service.service_id)
        return models.Service(**service._asdict())

    @rest.expose(None, types.key, status_code=204)
    def delete(self, service_id):
        crud.write(
            kinds.SERVICE, db_services.delete, service_id, now=crud.now(), author=crud.author()
        )
