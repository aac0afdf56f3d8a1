"""Rules that other rules are composed of."""

from oslo_policy import policy

ADMIN = 'role:admin'
EVERYBODY = ''
READER_OR_ADMIN = 'rule:project_reader_or_admin'
MEMBER_OR_ADMIN = 'rule:project_member_or_admin'

_OWNER = policy.DeprecatedRule(
    'admin_or_owner',
    'rule:admin_or_owner',
    deprecated_reason='The reader and member roles replace it.',
    deprecated_since='22.0.0',
)


def _project_rule(name, check_str, description):
    return policy.RuleDefault(name, check_str, description=description, deprecated_rule=_OWNER)


def api_rule(name: str, check_str: str, description: str, *operations: str) -> policy.RuleDefault:
    """Return the rule that guards *operations*, each one 'METHOD /path'."""
    return policy.DocumentedRuleDefault(
        name,
        check_str,
        description,
        scope_types=['project'],
        operations=[
            policy.Operation(method=method, path=path)
            for method, path in (operation.split(' ') for operation in operations)
        ],
    )


RULES = [
    policy.RuleDefault('context_is_admin', ADMIN, description='Sees all scopes.'),
    policy.RuleDefault(
        'admin_or_owner',
        'is_admin:True or (role:admin and is_admin_project:True) or project_id:%(project_id)s',
        description='Admin, or anybody with a token of the project.',
        deprecated_for_removal=True,
        deprecated_since='22.0.0',
        deprecated_reason='The reader and member roles replace it.',
    ),
    policy.RuleDefault('default', EVERYBODY, description='For a rule that is not defined.'),
    _project_rule(
        'project_member_api', 'role:member and project_id:%(project_id)s', 'Member of the project.'
    ),
    _project_rule(
        'project_reader_api', 'role:reader and project_id:%(project_id)s', 'Reader of the project.'
    ),
    _project_rule(
        'project_member_or_admin',
        'rule:project_member_api or rule:context_is_admin',
        'Member of the project, or admin.',
    ),
    _project_rule(
        'project_reader_or_admin',
        'rule:project_reader_api or rule:context_is_admin',
        'Reader of the project, or admin.',
    ),
]
