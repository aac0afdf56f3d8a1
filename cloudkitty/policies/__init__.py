"""The policy rules and their defaults. One file per resource."""

import itertools

from oslo_policy import policy

from cloudkitty.policies import (
    audit,
    base,
    collector,
    completeness,
    dataframes,
    info,
    rating,
    report,
    scopes,
    storage,
    summary,
    tasks,
)


def list_rules() -> list[policy.RuleDefault]:
    """Return every rule; also read by the sample generator."""
    return list(itertools.chain(
        base.RULES, audit.RULES, collector.RULES, completeness.RULES, info.RULES, rating.RULES,
        report.RULES, storage.RULES, dataframes.RULES, scopes.RULES, summary.RULES, tasks.RULES))
