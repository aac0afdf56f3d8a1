"""Projects on which the service user has the role `rating`."""

import logging

from keystoneauth1 import plugin
from oslo_config import cfg

from cloudkitty import errors, fetcher
from cloudkitty.clients import keystone, openstack

LOG = logging.getLogger(__name__)

ROLE = 'rating'
# Without pagination, a current Keystone silently truncates lists at [DEFAULT]max_db_limit, by
# default 1,000.
PAGE = {'limit': 1000}
FORBIDDEN = 403
# For a project that is disabled or deleted, and for a token that is no longer valid.
NO_TOKEN = (401, 404)


class KeystoneFetcher(fetcher.BaseFetcher):
    """List projects: those with the role, effective, that is, through groups, inheritance and
    implication too.

    Source: doc/source/contributor/compatibility/collection.rst, "Fetcher: keystone".
    """

    name = 'keystone'
    GROUP = 'fetcher_keystone'
    OPTS = [
        cfg.StrOpt(
            'keystone_version',
            default='3',
            choices=[('3', 'the only version of the API that a Keystone of today has')],
            deprecated_for_removal=True,
            deprecated_reason='no Keystone has had another version since its release Queens',
            help='Version of the API of Keystone.',
        ),
        cfg.BoolOpt(
            'ignore_rating_role',
            default=False,
            help='Whether to rate every project, with or without the role `rating`.',
        ),
        cfg.BoolOpt(
            'ignore_disabled_tenants',
            default=False,
            help='Whether to leave out projects that are disabled.',
        ),
        *keystone.OPTS,
    ]

    def __init__(self, conf, *, group=None):
        super().__init__(conf, group=group)
        # Requests go to the URL of authentication: Keystone need not be in its own catalog.
        self._client = openstack.Client(
            self.name,
            keystone.load_session(conf, self.group),
            version='v3',
            interface=plugin.AUTH_INTERFACE,
        )
        self._has_warned = False

    def get_tenants(self):
        try:
            return sorted(self._list())
        except errors.SourceError as exc:
            raise errors.FetcherError(fetcher=self.name, reason=exc.facts['reason']) from exc
        except (KeyError, TypeError, AttributeError) as exc:
            raise errors.FetcherError(
                fetcher=self.name, reason='unexpected answer of Keystone'
            ) from exc

    def get_names(self):
        return {project['id']: project['name'] for project in self._known_projects()}

    def get_groups(self):
        return {
            project['id']: [
                ('domain', project['domain_id']),
                *(('tag', tag) for tag in project.get('tags', ())),
            ]
            for project in self._known_projects()
        }

    def _known_projects(self):
        """Return all projects that the user may list, with the attributes that Keystone tells."""
        try:
            return list(self._client.pages('projects', PAGE, 'projects'))
        except errors.SourceError as exc:
            if exc.facts.get('status') != FORBIDDEN:
                raise
        return list(self._client.pages('auth/projects', {}, 'projects'))

    def _list(self):
        if self.options.ignore_rating_role:
            return self._projects()
        try:
            return self._assigned()
        except errors.SourceError as exc:
            if exc.facts.get('status') != FORBIDDEN:
                raise
        return self._rated_by_token()

    def _projects(self):
        """Return the ids of the projects to rate."""
        return {
            project['id']
            for project in self._client.pages('projects', PAGE, 'projects')
            if self._counts(project)
        }

    def _counts(self, project):
        return project['enabled'] or not self.options.ignore_disabled_tenants

    def _assigned(self):
        """Return the ids of the projects with the role, in two or three requests."""
        # Some databases also match RATING.
        roles = [
            role['id']
            for role in self._client.pages('roles', {'name': ROLE}, 'roles')
            if role['name'] == ROLE
        ]
        if not roles:
            raise self._client.unreachable(f'Keystone has no role named {ROLE}')
        scopes = [
            assignment['scope']
            for assignment in self._client.pages(
                'role_assignments',
                {'user.id': self._client.user_id(), 'role.id': roles[0], 'effective': ''},
                'role_assignments',
            )
        ]
        found = {scope['project']['id'] for scope in scopes if 'project' in scope}
        return found & self._projects() if self.options.ignore_disabled_tenants else found

    def _rated_by_token(self):
        """Return the ids of the projects with the role, for a user who may not list assignments.

        A token for a project contains the roles on it; Keystone issues none for a disabled project.
        """
        if not self._has_warned:
            LOG.warning(
                'The user of [%s] may not list role assignments: the roles of each project are '
                'requested one by one, and disabled projects are skipped',
                self.group,
            )
            self._has_warned = True
        found = self._ask_by_token()
        if found is None:
            self._client.forget_token()
            found = self._ask_by_token()
        if found is None:
            raise self._client.unreachable('the token was revoked while projects were listed')
        return found

    def _ask_by_token(self):
        """Return the ids; None: the token is no longer valid."""
        mine = [
            project['id']
            for project in self._client.pages('auth/projects', {}, 'projects')
            if project['enabled']
        ]
        token = self._client.token()
        roles = {
            project_id: self._roles_with(token, {'project': {'id': project_id}})
            for project_id in mine
        }
        # Keystone returns the same status for a project that was disabled or removed meanwhile, or
        # whose domain is disabled.
        if None in roles.values() and self._roles_with(token, scope='unscoped') is None:
            return None
        return {project_id for project_id, names in roles.items() if names and ROLE in names}

    def _roles_with(self, token, scope):
        """Return the names of the roles in the scope of a new token; None: Keystone issues none."""
        try:
            answer = self._client.ask(
                'POST',
                'auth/tokens',
                authenticated=False,
                json={
                    'auth': {
                        'identity': {'methods': ['token'], 'token': {'id': token}},
                        'scope': scope,
                    }
                },
            )
        except errors.SourceError as exc:
            status = exc.facts.get('status')
            if status == FORBIDDEN:
                raise self._client.unreachable(
                    'the user may neither list role assignments nor take tokens for other '
                    'projects, which no application credential does'
                ) from exc
            if status not in NO_TOKEN:
                raise
            return None
        return {role['name'] for role in answer['token'].get('roles', ())}
