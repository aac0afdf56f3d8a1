"""`/v2/me`: identity and permissions of the caller, and settings that all prices share."""

from cloudkitty.api import schemas, visibility
from cloudkitty.api.v2.endpoint import Endpoint


def get_me(request):
    caller, services = request.caller, request.services
    collect = services.conf.collect
    return {
        'user_id': caller.user_id,
        'project_id': caller.project_id,
        'project_name': caller.project_name,
        'roles': sorted(caller.roles),
        'is_admin': visibility.viewer_of(request).is_admin,
        'permissions': services.policy.list_allowed(caller),
        'auth_strategy': services.conf.auth_strategy,
        'scope_key': collect.scope_key,
        'period': collect.period,
        'billing': services.conf.billing.enabled,
        'currency': services.conf.rating.currency,
    }


ROUTES = {
    ('me',): {
        'GET': Endpoint(
            get_me,
            'me:get',
            answer=schemas.form(
                user_id=schemas.OPTIONAL_TEXT,
                project_id=schemas.OPTIONAL_TEXT,
                project_name=schemas.OPTIONAL_TEXT,
                roles=schemas.listing(schemas.TEXT),
                is_admin=schemas.BOOLEAN,
                permissions=schemas.listing(schemas.TEXT),
                auth_strategy=schemas.TEXT,
                scope_key=schemas.TEXT,
                period=schemas.INTEGER,
                billing=schemas.BOOLEAN,
                currency=schemas.TEXT,
            ),
        ),
    },
}
