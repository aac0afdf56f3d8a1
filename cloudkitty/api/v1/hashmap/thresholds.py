"""`.../hashmap/thresholds`."""

import dataclasses
from types import SimpleNamespace

import pecan

from cloudkitty.api import rest, types
from cloudkitty.api.v1 import stored
from cloudkitty.api.v1.hashmap import models
from cloudkitty.db import changes as kinds
from cloudkitty.db.hashmap import thresholds as db_thresholds

# What a new threshold is made of; the rest of a request is ignored.
_NEW = [field.name for field in dataclasses.fields(db_thresholds.NewThreshold)]


def collection(wanted: db_thresholds.Wanted) -> SimpleNamespace:
    """Return the thresholds that *wanted* describes, as in a ThresholdCollection."""
    return SimpleNamespace(thresholds=stored.read(db_thresholds.list_of, wanted))


class ThresholdGroup(rest.Controller):
    """The group of a threshold."""

    @rest.expose(models.Group, types.key)
    def get_all(self, threshold_id):
        return models.Group(**stored.read(db_thresholds.group_of, threshold_id)._asdict())


class ThresholdsController(rest.Controller):
    """`.../thresholds`, and below each its group."""

    group = ThresholdGroup()

    @rest.expose(models.ThresholdCollection, types.key, types.key, types.key, types.boolean, str,
                 types.boolean)
    def get_all(self, service_id=None, field_id=None, group_id=None, no_group=False,
                tenant_id=None, filter_tenant=False):
        return collection(db_thresholds.Wanted(
            service_id=service_id, field_id=field_id, group_id=group_id, no_group=no_group,
            tenant_id=tenant_id, filter_tenant=filter_tenant))

    @rest.expose(models.Threshold, types.key)
    def get_one(self, threshold_id):
        return stored.read(db_thresholds.get, threshold_id)

    @rest.expose(models.Threshold, body=models.Threshold, status_code=201)
    def post(self, threshold_data):
        values = stored.given(threshold_data)
        new = db_thresholds.NewThreshold(**{name: values[name] for name in _NEW if name in values})
        threshold = stored.create(kinds.THRESHOLD, db_thresholds.create, new)
        pecan.response.location = rest.location_of(threshold.threshold_id)
        return threshold

    @rest.expose(None, types.key, body=models.Threshold, status_code=302, is_empty=True)
    def put(self, threshold_id, threshold):
        stored.write(kinds.THRESHOLD, db_thresholds.update, threshold_id, stored.given(threshold))
        # Clients follow it and send the same PUT again, up to 30 times.
        pecan.response.location = rest.location_of()

    @rest.expose(None, types.key, status_code=204)
    def delete(self, threshold_id):
        stored.write(kinds.THRESHOLD, db_thresholds.delete, threshold_id, now=stored.now(),
                     author=stored.author())
