"""Who may do what by default."""

import pytest

from cloudkitty import context, errors, policies, policy


def _caller(roles, project_id='p1', **scope):
    return context.RequestContext(roles=roles, project_id=project_id, user_id='u', **scope)


NOBODY = context.RequestContext(is_trusted=True)
ADMIN = _caller(['admin'])
READER = _caller(['reader'])
UNSCOPED_READER = _caller(['reader'], None)
OWN, OTHER, ALL = {'project_id': 'p1'}, {'project_id': 'p2'}, {'project_id': None}

ALLOWED = [
    (NOBODY, 'rating:module_config', {}),
    (ADMIN, 'rating:module_config', {}),
    (ADMIN, 'summary:get_summary', OTHER),
    (ADMIN, 'summary:get_summary', ALL),
    (READER, 'summary:get_summary', OWN),
]
DENIED = [
    (READER, 'rating:module_config', {}),
    (READER, 'summary:get_summary', OTHER),
    (READER, 'summary:get_summary', ALL),
    (UNSCOPED_READER, 'summary:get_summary', ALL),
    (_caller(['member']), 'summary:get_summary', OWN),
    (_caller(['admin'], None, system_scope='all'), 'summary:get_summary', OWN),
    (_caller(['admin'], None, domain_id='d'), 'rating:module_config', {}),
]


@pytest.mark.parametrize('caller, rule, target', ALLOWED)
def test_allowed(conf, caller, rule, target):
    assert policy.Policy(conf).authorize(caller, rule, target) is None


@pytest.mark.parametrize('caller, rule, target', DENIED)
def test_denied(conf, caller, rule, target):
    with pytest.raises(errors.Forbidden, match=f"Policy doesn't allow {rule} to be performed."):
        policy.Policy(conf).authorize(caller, rule, target)


@pytest.mark.parametrize(
    'text, reason',
    [
        ('a: [b', 'while parsing'),
        ('[a]', 'has no attribute'),
        (
            '"rating:list_modules": "not a (rule"',
            "'rating:list_modules' is not a valid policy expression",
        ),
    ],
)
def test_a_broken_policy_file_is_one_line(conf, tmp_path, text, reason):
    path = tmp_path / 'policy.yaml'
    path.write_text(text)
    conf.register_opts(policy.policy.opts._options, group='oslo_policy')
    conf.set_override('policy_file', str(path), 'oslo_policy')

    with pytest.raises(errors.ConfigurationError) as raised:
        policy.Policy(conf)

    assert str(raised.value).startswith(f'[oslo_policy]policy_file: {path}: ')
    assert reason in str(raised.value)
    assert '\n' not in str(raised.value)


def test_a_policy_file_changes_a_default(conf, tmp_path):
    path = tmp_path / 'policy.yaml'
    path.write_text('"rating:list_modules": "role:reader"\n"rating:get_module": "!"')
    conf.register_opts(policy.policy.opts._options, group='oslo_policy')
    conf.set_override('policy_file', str(path), 'oslo_policy')
    changed = policy.Policy(conf)

    assert changed.authorize(READER, 'rating:list_modules') is None
    with pytest.raises(errors.Forbidden):
        changed.authorize(ADMIN, 'rating:get_module')


def test_a_policy_file_of_an_earlier_release_is_read(conf, tmp_path):
    """What it defines for itself counts, with a warning; rules that are gone harm nobody."""
    path = tmp_path / 'policy.yaml'
    path.write_text(
        '"admin_or_owner": "role:reader"\n'
        '"rating:list_modules": "rule:admin_or_owner"\n'
        '"report:list_tenants_of_old": "rule:admin_or_owner"\n'
    )
    conf.register_opts(policy.policy.opts._options, group='oslo_policy')
    conf.set_override('policy_file', str(path), 'oslo_policy')
    with pytest.warns(UserWarning) as warned:
        changed = policy.Policy(conf)

        assert changed.authorize(READER, 'rating:list_modules') is None
        with pytest.raises(errors.Forbidden):
            changed.authorize(READER, 'rating:update_module')
    assert all('"admin_or_owner"' in str(one.message) for one in warned)


def test_rules_have_names_of_their_own():
    names = [rule.name for rule in policies.list_rules()]

    assert len(names) == len(set(names))
