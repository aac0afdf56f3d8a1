"""The policy rules and their defaults. One file per resource."""

import itertools

from oslo_policy import policy

from cloudkitty.policies import (
    audit,
    base,
    billing,
    collector,
    completeness,
    dataframes,
    explain,
    forecast,
    info,
    me,
    rating,
    report,
    scopes,
    storage,
    summary,
    tasks,
    usage,
)


def list_rules() -> list[policy.RuleDefault]:
    """Return every rule; also read by the sample generator."""
    return list(
        itertools.chain(
            base.RULES,
            billing.RULES,
            audit.RULES,
            collector.RULES,
            completeness.RULES,
            explain.RULES,
            forecast.RULES,
            info.RULES,
            me.RULES,
            rating.RULES,
            report.RULES,
            storage.RULES,
            dataframes.RULES,
            scopes.RULES,
            summary.RULES,
            tasks.RULES,
            usage.RULES,
        )
    )
