"""Changes of closed months that are not billed yet."""

import sqlalchemy as sa

from cloudkitty.billing import accounts, changes, ledger
from cloudkitty.billing.documents import Documents

# Most notes that are read; with more the number is a lower bound.
NOTES_MAX = 10_000


def unbooked_months(
    connection: sa.Connection, documents: Documents, scope_key: str
) -> set[tuple[str, str]]:
    """Return (account, month) of the closed months whose usage changed since they were closed."""
    notes = changes.read_all(connection, scope_key, NOTES_MAX)
    found = changes.all_rechecks(connection)
    months = set[str]().union(*map(changes.near, notes))
    for period, version in ledger.versions(connection, months):
        document = documents.get(connection, version, period)
        owners = {
            accounts.owner_of(document, note.scope_id)
            for note in notes
            if period in changes.near(note)
        }
        found.update((owner, period) for owner in owners.union(*map(document.partners, owners)))
    closed = {
        period: ledger.closed_accounts(connection, period) for period in {one[1] for one in found}
    }
    return {(account_id, period) for account_id, period in found if account_id in closed[period]}
