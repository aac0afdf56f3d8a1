"""Projects on which the service user has the role `rating`."""

import logging

from keystoneauth1 import plugin
from oslo_config import cfg

from cloudkitty import errors, fetcher
from cloudkitty.clients import keystone, openstack

LOG = logging.getLogger(__name__)

ROLE = 'rating'
# Unless it is asked for pages, a Keystone of today leaves out what is above [DEFAULT]max_db_limit,
# 1,000 as a rule, and does not say so.
PAGE = {'limit': 1000}
FORBIDDEN = 403
# For a project that is disabled or gone, and for a token that is no longer good.
NO_TOKEN = (401, 404)


class KeystoneFetcher(fetcher.BaseFetcher):
    """List projects: those with the role, effective, that is, through groups, inheritance and
    implication too.

    Source: contract collection, section 4.1, with the target W12.
    """

    name = 'keystone'
    GROUP = 'fetcher_keystone'
    OPTS = [
        cfg.StrOpt('keystone_version', default='3', choices=[
            ('3', 'the only version of the API that a Keystone of today has')],
            help='Version of the API of Keystone.'),
        cfg.BoolOpt('ignore_rating_role', default=False,
                    help='Whether to rate every project, with or without the role `rating`.'),
        cfg.BoolOpt('ignore_disabled_tenants', default=False,
                    help='Whether to leave out projects that are disabled.'),
        *keystone.OPTS,
    ]

    def __init__(self, conf, *, group=None):
        super().__init__(conf, group=group)
        # Asked where the token comes from: Keystone need not be in its own catalog.
        self._client = openstack.Client(
            self.name, keystone.load_session(conf, self.group), version='v3',
            interface=plugin.AUTH_INTERFACE)
        self._has_warned = False

    def get_tenants(self):
        try:
            return sorted(self._list())
        except errors.SourceError as exc:
            raise errors.FetcherError(fetcher=self.name, reason=exc.facts['reason']) from exc
        except (KeyError, TypeError, AttributeError) as exc:
            raise errors.FetcherError(fetcher=self.name,
                                      reason='unexpected answer of Keystone') from exc

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
        """Return the ids of all projects that count."""
        return {project['id'] for project in self._client.pages('projects', PAGE, 'projects')
                if self._counts(project)}

    def _counts(self, project):
        return project['enabled'] or not self.options.ignore_disabled_tenants

    def _assigned(self):
        """Return the ids of the projects with the role, in two or three requests."""
        # Some databases find RATING, too.
        roles = [role['id'] for role in self._client.pages('roles', {'name': ROLE}, 'roles')
                 if role['name'] == ROLE]
        if not roles:
            raise self._client.unreachable(f'Keystone has no role named {ROLE}')
        scopes = [assignment['scope'] for assignment in self._client.pages(
            'role_assignments', {'user.id': self._client.user_id(), 'role.id': roles[0],
                                 'effective': ''}, 'role_assignments')]
        found = {scope['project']['id'] for scope in scopes if 'project' in scope}
        return found & self._projects() if self.options.ignore_disabled_tenants else found

    def _rated_by_token(self):
        """Return the ids of the projects with the role, for a user who may not list assignments.

        A token for a project tells the roles on it; Keystone gives none for a disabled project.
        """
        if not self._has_warned:
            LOG.warning('The user of [%s] may not list role assignments: each project takes a '
                        'request, and disabled ones are left out', self.group)
            self._has_warned = True
        found = self._ask_by_token()
        if found is None:
            self._client.forget_token()
            found = self._ask_by_token()
        if found is None:
            raise self._client.unreachable('the token was revoked while projects were listed')
        return found

    def _ask_by_token(self):
        """Return the ids; None: the token is no longer good."""
        mine = [project['id'] for project in self._client.pages('auth/projects', {}, 'projects')
                if project['enabled']]
        token = self._client.token()
        roles = {project_id: self._roles_with(token, {'project': {'id': project_id}})
                 for project_id in mine}
        # Keystone says the same of a project that was disabled or removed meanwhile, or whose
        # domain is disabled.
        if None in roles.values() and self._roles_with(token, scope='unscoped') is None:
            return None
        return {project_id for project_id, names in roles.items() if names and ROLE in names}

    def _roles_with(self, token, scope):
        """Return the names of the roles on what a *token* is wanted for; None: there is none."""
        try:
            answer = self._client.ask('POST', 'auth/tokens', authenticated=False, json={'auth': {
                'identity': {'methods': ['token'], 'token': {'id': token}}, 'scope': scope}})
        except errors.SourceError as exc:
            status = exc.facts.get('status')
            if status == FORBIDDEN:
                raise self._client.unreachable(
                    'the user may neither list role assignments nor take tokens for other '
                    'projects, which no application credential does') from exc
            if status not in NO_TOKEN:
                raise
            return None
        return {role['name'] for role in answer['token'].get('roles', ())}
