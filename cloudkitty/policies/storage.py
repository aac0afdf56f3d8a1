"""Rules of the stored points. Target is the project they belong to."""

from cloudkitty.policies.base import READER_OR_ADMIN, api_rule

RULES = [
    api_rule(
        'storage:list_data_frames',
        READER_OR_ADMIN,
        'Read rated points.',
        'GET /v1/storage/dataframes',
    ),
]
