"""Rules of the explanation of prices."""

from cloudkitty.policies.base import ADMIN, READER_OR_ADMIN, api_rule

RULES = [
    api_rule(
        'explain:get',
        ADMIN,
        'See how a price is made: samples of the source, quantity, rules. Whoever else may see it '
        'sees the scope of the own project only, with all labels that the source has of it.',
        'GET /v2/explain',
    ),
    api_rule(
        'explain:get_stored',
        READER_OR_ADMIN,
        'See how the price of what is stored is made: quantity and rules that match. Others than '
        'an admin see the scope of the own project only.',
        'GET /v2/explain/stored',
    ),
]
