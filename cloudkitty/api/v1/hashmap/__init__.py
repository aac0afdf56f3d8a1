"""`/v1/rating/module_config/hashmap`: services, fields, groups, mappings and thresholds.

Who may come here is checked above, see api/v1/rating.
"""

from cloudkitty.api import rest
from cloudkitty.api.v1.hashmap import models
from cloudkitty.api.v1.hashmap.groups import GroupsController
from cloudkitty.api.v1.hashmap.mappings import MappingsController
from cloudkitty.api.v1.hashmap.services import FieldsController, ServicesController
from cloudkitty.api.v1.hashmap.thresholds import ThresholdsController
from cloudkitty.rating.hashmap import rules


class TypesController(rest.Controller):
    """`.../types`."""

    @rest.expose([models.rule_type])
    def get_all(self):
        return list(rules.TYPES)


class HashMapController(rest.Controller):
    """The door of this folder."""

    types = TypesController()
    services = ServicesController()
    fields = FieldsController()
    groups = GroupsController()
    mappings = MappingsController()
    thresholds = ThresholdsController()
