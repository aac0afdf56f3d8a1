"""Authorization: oslo.policy with the rules of cloudkitty.policies."""

from collections.abc import Mapping

from oslo_config import cfg
from oslo_policy import policy

from cloudkitty import context, errors, policies


class Policy:
    """The rules in force: defaults and the operator's policy file.

    :raises ConfigurationError: the policy file cannot be read.
    """

    def __init__(self, conf: cfg.ConfigOpts):
        self._enforcer = build_enforcer(conf)
        where = f'[oslo_policy]policy_file: {conf.oslo_policy.policy_file}'
        try:
            self._enforcer.load_rules()
        # The library does not validate the content of the file: a list, for one, has no items().
        except (ValueError, TypeError, AttributeError, cfg.Error, OSError) as exc:
            reason = ' '.join(str(exc).split())
            raise errors.ConfigurationError(reason=f'{where}: {reason}') from exc
        for name, rule in self._enforcer.file_rules.items():
            # The library denies rules that it cannot parse; operators should know.
            if str(rule.check) == '!' and rule.check_str != '!':
                raise errors.ConfigurationError(
                    reason=f'{where}: rule {name!r} is not a valid policy expression: '
                    f'{rule.check_str!r}'
                )

    def authorize(
        self, caller: context.RequestContext, rule: str, target: Mapping | None = None
    ) -> None:
        """Raise Forbidden unless *rule* allows *caller* the action.

        :param target: object of the action; a member that is None matches nobody, so that a caller
            without a project does not match a target without one.
        :raises Forbidden: the rule denies it, or the token has a wrong scope (system, domain).
        """
        if caller.is_trusted:
            return
        known = {name: value for name, value in (target or {}).items() if value is not None}
        try:
            self._enforcer.authorize(rule, known, caller, do_raise=True)
        except (policy.PolicyNotAuthorized, policy.InvalidScope) as exc:
            raise errors.Forbidden(rule=rule) from exc

    def list_allowed(self, caller: context.RequestContext) -> list[str]:
        """Return the names of the rules that allow *caller* an operation in their own project."""
        target = {'project_id': str(caller.project_id)}
        names = (
            rule.name
            for rule in policies.list_rules()
            if isinstance(rule, policy.DocumentedRuleDefault)
        )
        return sorted(name for name in names if self._allows(caller, name, target))

    def _allows(self, caller, name, target):
        try:
            self.authorize(caller, name, target)
        except errors.Forbidden:
            return False
        return True

    def is_admin(self, caller: context.RequestContext) -> bool:
        """Whether *caller* sees all scopes."""
        return caller.is_trusted or self._enforcer.authorize('context_is_admin', {}, caller)


def build_enforcer(conf: cfg.ConfigOpts) -> policy.Enforcer:
    """Return an enforcer that knows the rules of this service."""
    enforcer = policy.Enforcer(conf)
    enforcer.register_defaults(policies.list_rules())
    return enforcer


def get_enforcer() -> policy.Enforcer:
    """Entry point of the oslopolicy-* tools, which read the global configuration."""
    cfg.CONF([], project='cloudkitty')
    return build_enforcer(cfg.CONF)
