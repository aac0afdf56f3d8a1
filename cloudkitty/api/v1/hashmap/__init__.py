"""`/v1/rating/module_config/hashmap`: services, fields, groups, mappings and thresholds.

Who may come here is checked above, see api/v1/rating.
"""

from cloudkitty.api import rest
from cloudkitty.api.v1.hashmap import groups, mappings, models, services, thresholds
from cloudkitty.rating.hashmap import rules


class TypesController(rest.Controller):
    """`.../types`."""

    @rest.expose([models.rule_type])
    def get_all(self):
        return list(rules.TYPES)


class HashMapController(rest.Controller):
    """The door of this folder."""

    types = TypesController()
    services = services.ServicesController()
    fields = services.FieldsController()
    groups = groups.GroupsController()
    mappings = mappings.MappingsController()
    thresholds = thresholds.ThresholdsController()
