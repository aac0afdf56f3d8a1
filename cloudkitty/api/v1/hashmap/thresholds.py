"""`.../hashmap/thresholds`."""

from types import SimpleNamespace

import pecan

from cloudkitty.api import rest, types
from cloudkitty.api.v1 import crud
from cloudkitty.api.v1.hashmap import models
from cloudkitty.audit import snapshots as kinds
from cloudkitty.rating.hashmap.store import thresholds as db_thresholds


def collection(wanted: db_thresholds.Wanted) -> SimpleNamespace:
    """Return the thresholds that match *wanted*, as a ThresholdCollection."""
    return SimpleNamespace(thresholds=crud.read(db_thresholds.list_of, wanted))


class ThresholdGroup(rest.Controller):
    """The group of a threshold."""

    @rest.expose(models.Group, types.key)
    def get_all(self, threshold_id):
        return models.Group(**crud.read(db_thresholds.group_of, threshold_id)._asdict())


class ThresholdsController(rest.Controller):
    """`.../thresholds`, and below each its group."""

    group = ThresholdGroup()

    @rest.expose(
        models.ThresholdCollection,
        types.key,
        types.key,
        types.key,
        types.boolean,
        str,
        types.boolean,
    )
    def get_all(
        self,
        service_id=None,
        field_id=None,
        group_id=None,
        no_group=False,
        tenant_id=None,
        filter_tenant=False,
    ):
        return collection(
            db_thresholds.Wanted(
                service_id=service_id,
                field_id=field_id,
                group_id=group_id,
                no_group=no_group,
                tenant_id=tenant_id,
                filter_tenant=filter_tenant,
            )
        )

    @rest.expose(models.Threshold, types.key)
    def get_one(self, threshold_id):
        return crud.read(db_thresholds.get, threshold_id)

    @rest.expose(models.Threshold, body=models.Threshold, status_code=201)
    def post(self, threshold_data):
        threshold = crud.create(
            kinds.THRESHOLD,
            db_thresholds.create,
            crud.new(db_thresholds.NewThreshold, threshold_data),
        )
        pecan.response.location = rest.location_of(threshold.threshold_id)
        return threshold

    @rest.expose(None, types.key, body=models.Threshold, status_code=302, is_empty=True)
    def put(self, threshold_id, threshold):
        crud.write(kinds.THRESHOLD, db_thresholds.update, threshold_id, crud.given(threshold))
        # Clients follow it and send the same PUT again, up to 30 times.
        pecan.response.location = rest.location_of()

    @rest.expose(None, types.key, status_code=204)
    def delete(self, threshold_id):
        crud.write(
            kinds.THRESHOLD,
            db_thresholds.delete,
            threshold_id,
            now=crud.now(),
            author=crud.author(),
        )
