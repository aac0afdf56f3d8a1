"""Which rated data a caller may see, for v1 and v2."""

from collections.abc import Sequence

from cloudkitty import errors
from cloudkitty.api import rest
from cloudkitty.report import Report, Viewer


def viewer_of(request) -> Viewer:
    """Return the viewer for the caller of *request*."""
    caller = request.caller
    return Viewer(request.services.policy.is_admin(caller), caller.project_id)


def viewer_of_project(request, rule: str, project_id: str) -> Viewer:
    """Return a viewer that sees only one project.

    :raises Forbidden: *rule* does not let the caller read it.
    """
    rest.authorize(rule, {'project_id': project_id})
    viewer = viewer_of(request)
    # To the policy a caller without a project is one of the project 'None'.
    return viewer if viewer.sees_nothing else Viewer(is_admin=False, project_id=project_id)


def visible_scopes(request, wanted: Sequence[str] | None) -> Sequence[str] | None:
    """Return which of the *wanted* scopes the caller may see; None stands for all.

    Others than an admin see the scope of their project, whatever they want.

    :raises NotFound: there is nothing that the caller may see.
    """
    viewer = viewer_of(request)
    if viewer.is_admin:
        return wanted
    if viewer.sees_nothing or viewer.project_id is None:
        raise errors.NotFound(reason='No scope matches.')
    return [viewer.project_id]


def report_of(request) -> Report:
    """Return the reader of the storage."""
    services = request.services
    return Report(services.storage, services.conf.collect.scope_key)
