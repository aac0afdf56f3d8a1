"""WSME models of the requests and responses of hashmap."""

from wsme import types as wtypes

from cloudkitty.api import types
from cloudkitty.core.pricing import rules
from cloudkitty.rating import validity
from cloudkitty.rating.hashmap.store import mappings


class RuleType(wtypes.UserType):
    """flat or rate."""

    basetype = str
    name = 'rule type'
    accepts = shows = {'enum': list(rules.TYPES)}

    def validate(self, value):
        if value not in rules.TYPES:
            raise ValueError(f'Value should be one of: {", ".join(rules.TYPES)}')
        return value


rule_type = RuleType()
label = types.Text(255)


class Service(wtypes.Base):
    """A metric that has rules."""

    service_id = wtypes.wsattr(types.uuid)
    name = wtypes.wsattr(label, mandatory=True)


class ServiceCollection(wtypes.Base):
    services = [Service]


class Field(wtypes.Base):
    """An attribute that rules of a service look at."""

    field_id = wtypes.wsattr(types.uuid)
    name = wtypes.wsattr(label, mandatory=True)
    service_id = wtypes.wsattr(types.uuid, mandatory=True)


class FieldCollection(wtypes.Base):
    fields = [Field]


class Group(wtypes.Base):
    """A named group of rules."""

    group_id = wtypes.wsattr(types.uuid)
    name = wtypes.wsattr(label, mandatory=True)


class GroupCollection(wtypes.Base):
    groups = [Group]


class Mapping(wtypes.Base):
    """An amount or a factor for a service or for a value of a field."""

    mapping_id = wtypes.wsattr(types.uuid)
    value = wtypes.wsattr(types.Text(255))
    type = wtypes.wsattr(rule_type)
    cost = wtypes.wsattr(types.cost, mandatory=True)
    service_id = wtypes.wsattr(types.uuid)
    field_id = wtypes.wsattr(types.uuid)
    group_id = wtypes.wsattr(types.uuid)
    tenant_id = wtypes.wsattr(types.Text(255))
    created_at = wtypes.wsattr(types.moment)
    start = wtypes.wsattr(types.moment)
    end = wtypes.wsattr(types.rule_end)
    name = wtypes.wsattr(types.Text(mappings.NAME_LENGTH_MAX))
    description = wtypes.wsattr(types.Text(validity.DESCRIPTION_LENGTH_MAX))
    deleted = wtypes.wsattr(types.moment)
    created_by = wtypes.wsattr(types.Text(255))
    updated_by = wtypes.wsattr(types.Text(255))
    deleted_by = wtypes.wsattr(types.Text(255))


class MappingCollection(wtypes.Base):
    mappings = [Mapping]


class Threshold(wtypes.Base):
    """An amount or a factor from a level on."""

    threshold_id = wtypes.wsattr(types.uuid)
    level = wtypes.wsattr(types.level, mandatory=True)
    type = wtypes.wsattr(rule_type)
    cost = wtypes.wsattr(types.cost, mandatory=True)
    service_id = wtypes.wsattr(types.uuid)
    field_id = wtypes.wsattr(types.uuid)
    group_id = wtypes.wsattr(types.uuid)
    tenant_id = wtypes.wsattr(types.Text(255))


class ThresholdCollection(wtypes.Base):
    thresholds = [Threshold]
