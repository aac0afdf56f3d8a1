"""JSON Schema of WSME types."""

from wsme import types as wtypes

PLAIN = {
    str: 'string',
    bytes: 'string',
    int: 'integer',
    float: 'number',
    bool: 'boolean',
    dict: 'object',
}


class Models:
    """Collects the object types, each with a schema for requests and one for responses.

    :ivar components: their schemas by name.
    """

    def __init__(self):
        self.components: dict[str, dict] = {}

    def schema(self, datatype, *, is_input: bool) -> dict:
        """Return the JSON Schema of *datatype*; an object type is a reference."""
        if isinstance(datatype, wtypes.ArrayType):
            return {'type': 'array', 'items': self.schema(datatype.item_type, is_input=is_input)}
        if isinstance(datatype, wtypes.DictType):
            return {
                'type': 'object',
                'additionalProperties': self.schema(datatype.value_type, is_input=is_input),
            }
        if wtypes.iscomplex(datatype):
            return {'$ref': f'#/components/schemas/{self._name(datatype, is_input)}'}
        if isinstance(datatype, wtypes.UserType):
            told = getattr(datatype, 'accepts' if is_input else 'shows', None)
            return dict(told) if told else self.schema(datatype.basetype, is_input=is_input)
        if is_input and datatype in (int, float, bool):
            # Numbers may also be given as text.
            return {'type': [PLAIN[datatype], 'string']}
        return {'type': PLAIN[datatype]} if datatype in PLAIN else {}

    def _name(self, datatype, is_input):
        module = datatype.__module__.removeprefix('cloudkitty.api.').removesuffix('.models')
        name = f'{module}.{datatype.__name__}' + '.input' * is_input
        if name not in self.components:
            self.components[name] = {}  # A type may be recursive.
            self.components[name].update(self._object(datatype, is_input))
        return name

    def _object(self, datatype, is_input):
        attributes = wtypes.list_attributes(datatype)
        return {
            'type': 'object',
            'properties': {
                attribute.name: self._member(attribute, is_input) for attribute in attributes
            },
            'required': [attribute.name for attribute in attributes if attribute.mandatory],
            'additionalProperties': False,
        }

    def _member(self, attribute, is_input):
        schema = self.schema(attribute.datatype, is_input=is_input)
        return schema if attribute.mandatory else {'anyOf': [schema, {'type': 'null'}]}
