"""`/v1/rating/module_config/hashmap`: services, fields, groups, mappings and thresholds.

The policy is checked by the parent, see api/v1/rating.
"""

from cloudkitty.api import rest
from cloudkitty.api.v1.hashmap import models
from cloudkitty.api.v1.hashmap.groups import GroupsController
from cloudkitty.api.v1.hashmap.mappings import MappingsController
from cloudkitty.api.v1.hashmap.services import FieldsController, ServicesController
from cloudkitty.api.v1.hashmap.thresholds import ThresholdsController
from cloudkitty.core.pricing import rules


class TypesController(rest.Controller):
    """`.../types`."""

    @rest.expose([models.rule_type])
    def get_all(self):
        return list(rules.TYPES)


class HashMapController(rest.Controller):
    """Root controller of hashmap."""

    types = TypesController()
    services = ServicesController()
    fields = FieldsController()
    groups = GroupsController()
    mappings = MappingsController()
    thresholds = ThresholdsController()
