"""`/v1/rating/module_config/pyscripts`: scripts.

The policy is checked by the parent, see api/v1/rating.
"""

import dataclasses

import pecan
from wsme import types as wtypes

from cloudkitty import errors
from cloudkitty.api import rest, types
from cloudkitty.api.v1 import crud
from cloudkitty.audit import snapshots as kinds
from cloudkitty.rating import validity
from cloudkitty.rating.pyscripts import store as db_pyscripts

_FILTERS = {
    'no_data': types.boolean,
    'deleted': types.boolean,
    'start': types.moment,
    'end': types.moment,
    'updated_by': str,
    'created_by': str,
    'deleted_by': str,
    'description': str,
    'is_active': types.boolean,
}


class Script(wtypes.Base):
    """A script that prices frames."""

    script_id = wtypes.wsattr(types.uuid)
    name = wtypes.wsattr(types.Text(255), mandatory=True)
    data = wtypes.wsattr(str)
    checksum = wtypes.wsattr(str, readonly=True)
    created_at = wtypes.wsattr(types.moment)
    start = wtypes.wsattr(types.moment)
    end = wtypes.wsattr(types.rule_end)
    description = wtypes.wsattr(types.Text(validity.DESCRIPTION_LENGTH_MAX))
    deleted = wtypes.wsattr(types.moment)
    created_by = wtypes.wsattr(types.Text(255))
    updated_by = wtypes.wsattr(types.Text(255))
    deleted_by = wtypes.wsattr(types.Text(255))


class ScriptCollection(wtypes.Base):
    scripts = [Script]


def _model(script, *, has_data=True):
    form = Script(**dataclasses.asdict(script))
    if not has_data:
        form.data = wtypes.Unset
    return form


def _is_in_path(script_id):
    """Return whether the path of the request names the script and not its body."""
    last = pecan.request.path.rstrip('/').rpartition('/')[2]
    return types.key.validate(last) == script_id


class ScriptsController(rest.Controller):
    """`.../scripts`."""

    # WSME takes the names of the arguments from the signature.
    @rest.expose(ScriptCollection, *_FILTERS.values())
    def get_all(
        self,
        no_data=False,
        deleted=False,
        start=None,
        end=None,
        updated_by=None,
        created_by=None,
        deleted_by=None,
        description=None,
        is_active=False,
    ):
        has_data = not no_data
        found = crud.read(
            db_pyscripts.list_of,
            validity.Wanted(
                deleted=deleted,
                is_active=is_active,
                start=start,
                end=end,
                created_by=created_by,
                updated_by=updated_by,
                deleted_by=deleted_by,
                description=description,
            ),
            now=crud.now(),
            has_data=has_data,
        )
        return ScriptCollection(scripts=[_model(script, has_data=has_data) for script in found])

    @rest.expose(Script, types.key)
    def get_one(self, script_id):
        return _model(crud.read(db_pyscripts.get, script_id))

    @rest.expose(Script, types.boolean, body=Script, status_code=201)
    def post(self, force=False, script_data=None):
        if script_data is None:
            raise errors.InvalidInput(reason='Missing argument: "script_data"')
        script = crud.create(
            kinds.SCRIPT,
            db_pyscripts.create,
            crud.new(db_pyscripts.NewScript, script_data),
            now=crud.now(),
            author=crud.author(),
            force=bool(force),
        )
        pecan.response.location = rest.location_of(script.script_id)
        return _model(script)

    @rest.expose(Script, types.key, body=Script, status_code=201)
    def put(self, script_id, script_data):
        changes = crud.given(script_data)
        changes.pop('script_id', None)
        script = crud.write(
            kinds.SCRIPT,
            db_pyscripts.update,
            script_id,
            changes,
            now=crud.now(),
            author=crud.author(),
        )
        pecan.response.location = rest.location_of(
            None if _is_in_path(script_id) else script.script_id
        )
        return _model(script)

    @rest.expose(None, types.key, status_code=204)
    def delete(self, script_id):
        crud.write(
            kinds.SCRIPT, db_pyscripts.delete, script_id, now=crud.now(), author=crud.author()
        )


class PyScriptsController(rest.Controller):
    """Root controller of pyscripts."""

    scripts = ScriptsController()
