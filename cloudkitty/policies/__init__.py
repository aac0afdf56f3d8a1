"""The policy rules and their defaults. One file per resource."""

import itertools

from oslo_policy import policy

from cloudkitty.policies import base, dataframes, rating, scopes, summary


def list_rules() -> list[policy.RuleDefault]:
    """Return every rule; also read by the sample generator."""
    return list(itertools.chain(base.RULES, rating.RULES, dataframes.RULES, scopes.RULES,
                                summary.RULES))
