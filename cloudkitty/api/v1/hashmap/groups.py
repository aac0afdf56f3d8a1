"""`.../hashmap/groups`."""

import pecan

from cloudkitty.api import rest, types
from cloudkitty.api.v1 import crud
from cloudkitty.api.v1.hashmap import mappings, models, thresholds
from cloudkitty.audit import snapshots as kinds
from cloudkitty.rating.hashmap.store import groups as db_groups
from cloudkitty.rating.hashmap.store import mappings as db_mappings
from cloudkitty.rating.hashmap.store import thresholds as db_thresholds


class GroupMappings(rest.Controller):
    """The live mappings of a group."""

    @rest.expose(models.MappingCollection, types.key)
    def get_all(self, group_id):
        return mappings.collection(db_mappings.Wanted(group_id=group_id))


class GroupThresholds(rest.Controller):
    """The thresholds of a group."""

    @rest.expose(models.ThresholdCollection, types.key)
    def get_all(self, group_id):
        return thresholds.collection(db_thresholds.Wanted(group_id=group_id))


class GroupsController(rest.Controller):
    """`.../groups`, and below each its mappings and thresholds."""

    mappings = GroupMappings()
    thresholds = GroupThresholds()

    @rest.expose(models.GroupCollection)
    def get_all(self):
        found = crud.read(db_groups.list_all)
        return models.GroupCollection(groups=[models.Group(**group._asdict()) for group in found])

    @rest.expose(models.Group, types.key)
    def get_one(self, group_id):
        return models.Group(**crud.read(db_groups.get, group_id)._asdict())

    @rest.expose(models.Group, body=models.Group, status_code=201)
    def post(self, group_data):
        group = crud.create(kinds.GROUP, db_groups.create, group_data.name)
        pecan.response.location = rest.location_of(group.group_id)
        return models.Group(**group._asdict())

    @rest.expose(None, types.key, types.boolean, status_code=204)
    def delete(self, group_id, recursive=False):
        crud.write(
            kinds.GROUP,
            db_groups.delete,
            group_id,
            recursive=bool(recursive),
            now=crud.now(),
            author=crud.author(),
        )
