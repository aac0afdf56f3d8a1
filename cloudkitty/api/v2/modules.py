"""`/v2/rating/modules`."""

from cloudkitty.api import modules, query, schemas
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.db.modules import PRIORITY_MAX

MODULE = schemas.form(module_id=schemas.TEXT, description=schemas.TEXT, enabled=schemas.BOOLEAN,
                      hot_config=schemas.BOOLEAN, priority=schemas.INTEGER)


@query.accepts({'type': 'integer', 'minimum': 1, 'maximum': PRIORITY_MAX})
def _priority(value):
    if not isinstance(value, int):
        raise ValueError(f'{value!r} is not an integer')
    return query.integer(1, PRIORITY_MAX)(value)


def list_modules(request):
    return {'modules': [module._asdict() for module in request.services.modules.describe()]}


def get_module(request, module_id):
    return modules.get_module(request.services, module_id)._asdict()


def update_module(request, module_id, *, enabled, priority):
    modules.update_module(request.services, module_id, enabled=enabled, priority=priority)


ROUTES = {
    ('rating', 'modules'): {
        'GET': Endpoint(list_modules, 'v2_rating:list_modules',
                        answer=schemas.form(modules=schemas.listing(MODULE))),
    },
    ('rating', 'modules', '*'): {
        'GET': Endpoint(get_module, 'v2_rating:get_module', answer=MODULE),
        'PUT': Endpoint(update_module, 'v2_rating:update_module', status=204, body={
            'enabled': query.one(query.boolean_like),
            'priority': query.one(_priority),
        }),
    },
}
