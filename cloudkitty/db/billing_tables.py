"""The tables of billing; see db/tables."""

import sqlalchemy as sa

from cloudkitty.db import types
from cloudkitty.db.tables import OPTIONS, metadata

# Versions of the billing document; rows are only added.
documents = sa.Table(
    'billing_documents',
    metadata,
    sa.Column('version', sa.Integer, primary_key=True, autoincrement=False),
    # The first month in which it is in force, such as 2026-10.
    sa.Column('from_month', types.name(7), nullable=False),
    # Canonical JSON, and its SHA-256.
    sa.Column('document', types.text(), nullable=False),
    sa.Column('digest', types.name(64), nullable=False),
    sa.Column('author', types.name(255)),
    sa.Column('applied_at', types.instant(), nullable=False),
    **OPTIONS,
)

# Domains and tags of scopes, by month; see billing/members.
members = sa.Table(
    'billing_members',
    metadata,
    sa.Column('scope_id', types.name(256), primary_key=True),
    sa.Column('kind', types.name(8), primary_key=True),
    sa.Column('value', types.name(255), primary_key=True),
    # The first month, such as 2026-10, and the month after the last; null: it goes on.
    sa.Column('from_month', types.name(7), primary_key=True),
    sa.Column('until_month', types.name(7)),
    sa.Column('changes', sa.BigInteger, nullable=False),
    sa.Index('ix_billing_members_value', 'kind', 'value'),
    **OPTIONS,
)

# Changes of the storage in months that may be closed, see storage/v2/series/changes.
changes = sa.Table(
    'billing_changes',
    metadata,
    sa.Column('scope_id', sa.ForeignKey('rated_scopes.id'), primary_key=True),
    # Its first day, UTC.
    sa.Column('month', sa.Date, primary_key=True),
    sa.Column('changes', sa.BigInteger, nullable=False),
    **OPTIONS,
)

# Closed months to compute again for other reasons.
rechecks = sa.Table(
    'billing_rechecks',
    metadata,
    sa.Column('account', types.name(256), primary_key=True),
    sa.Column('month', types.name(7), primary_key=True),
    sa.Column('changes', sa.BigInteger, nullable=False),
    **OPTIONS,
)

# One row for each account with a statement; it is locked to close another one.
accounts = sa.Table(
    'billing_accounts',
    metadata,
    sa.Column('id', types.name(256), primary_key=True),
    # Number of its newest statement; null: there is none.
    sa.Column('newest', types.name(64)),
    **OPTIONS,
)

# The next number of each series and year.
series = sa.Table(
    'billing_series',
    metadata,
    sa.Column('name', types.name(40), primary_key=True),
    sa.Column('year', sa.Integer, primary_key=True, autoincrement=False),
    sa.Column('next_number', sa.Integer, nullable=False),
    **OPTIONS,
)

# Statements that are closed; rows are only added.
statements = sa.Table(
    'billing_statements',
    metadata,
    sa.Column('number', types.name(64), primary_key=True),
    sa.Column('account', types.name(256), nullable=False),
    sa.Column('month', types.name(7), nullable=False),
    # Count the statements of an account and month, and all of an account, from 1.
    sa.Column('revision', sa.Integer, nullable=False),
    sa.Column('sequence', sa.Integer, nullable=False),
    # Number of the statement that this one voids.
    sa.Column('voids', types.name(64)),
    # Project that may read it; null: nobody may.
    sa.Column('owner', types.name(255)),
    # Of the document of plans.
    sa.Column('version', sa.Integer, nullable=False),
    sa.Column('currency', types.name(8), nullable=False),
    sa.Column('list_price', types.Exact(), nullable=False),
    sa.Column('net', types.Exact(), nullable=False),
    sa.Column('tax', types.Exact(), nullable=False),
    sa.Column('total', types.Exact(), nullable=False),
    # SHA-256 over that of the account's statement before (null: there is none) and the document.
    sa.Column('digest', types.name(64), nullable=False),
    sa.Column('previous', types.name(64)),
    sa.Column('closed_at', types.instant(), nullable=False),
    sa.Column('author', types.name(255)),
    # Canonical JSON.
    sa.Column('document', types.text(), nullable=False),
    sa.UniqueConstraint('account', 'sequence', name='uq_billing_statements_account'),
    sa.Index('ix_billing_statements_month', 'month'),
    **OPTIONS,
)

# The lines of the statements, for sums by SQL.
lines = sa.Table(
    'billing_lines',
    metadata,
    sa.Column('number', sa.ForeignKey('billing_statements.number'), primary_key=True),
    sa.Column('position', sa.Integer, primary_key=True, autoincrement=False),
    sa.Column('account', types.name(256), nullable=False),
    # The month it is about.
    sa.Column('period', types.name(7), nullable=False),
    sa.Column('kind', types.name(16), nullable=False),
    sa.Column('item', types.name(255), nullable=False),
    # Names and values, as JSON.
    sa.Column('key', types.text(), nullable=False),
    sa.Column('scope_id', types.name(256)),
    sa.Column('metric', types.name(255)),
    sa.Column('unit', types.name(255), nullable=False),
    sa.Column('quantity', types.Exact(), nullable=False),
    sa.Column('list_price', types.Exact(), nullable=False),
    sa.Column('exact', types.Exact(), nullable=False),
    sa.Column('amount', types.Exact(), nullable=False),
    sa.Column('tax', types.name(255), nullable=False),
    sa.Column('is_correction', sa.Boolean, nullable=False),
    sa.Index('ix_billing_lines_account', 'account', 'period'),
    **OPTIONS,
)

# Prepaid or granted credits of accounts.
credits_ = sa.Table(
    'billing_credits',
    metadata,
    sa.Column('id', types.name(32), primary_key=True),
    sa.Column('account', types.name(256), nullable=False),
    sa.Column('amount', types.Exact(), nullable=False),
    sa.Column('currency', types.name(8), nullable=False),
    # The lowest is drawn first.
    sa.Column('priority', sa.Integer, nullable=False),
    # Days in force, half open; null: no bound.
    sa.Column('begin', sa.Date),
    sa.Column('end', sa.Date),
    sa.Column('note', types.name(255), nullable=False),
    sa.Column('created_at', types.instant(), nullable=False),
    sa.Column('author', types.name(255)),
    sa.Index('ix_billing_credits_account', 'account'),
    **OPTIONS,
)

# Amounts that statements have drawn from credits; negative: restored.
draws = sa.Table(
    'billing_draws',
    metadata,
    sa.Column('number', sa.ForeignKey('billing_statements.number'), primary_key=True),
    sa.Column('credit', sa.ForeignKey('billing_credits.id'), primary_key=True),
    sa.Column('amount', types.Exact(), nullable=False),
    sa.Index('ix_billing_draws_credit', 'credit'),
    **OPTIONS,
)

# Budgets of accounts.
budgets = sa.Table(
    'budgets',
    metadata,
    sa.Column('id', types.name(32), primary_key=True),
    sa.Column('account', types.name(256), nullable=False),
    sa.Column('name', types.name(255), nullable=False),
    sa.Column('amount', types.Exact(), nullable=False),
    # Net or list prices, and actual or forecast usage.
    sa.Column('basis', types.name(8), nullable=False),
    sa.Column('measure', types.name(8), nullable=False),
    # Percentages, as a list in JSON.
    sa.Column('thresholds', types.text(), nullable=False),
    sa.Column('created_at', types.instant(), nullable=False),
    sa.Index('ix_budgets_account', 'account'),
    **OPTIONS,
)

# Thresholds that were reached; each once, even if the budget changes.
alerts = sa.Table(
    'billing_alerts',
    metadata,
    sa.Column('budget', types.name(32), primary_key=True),
    sa.Column('month', types.name(7), primary_key=True),
    sa.Column('basis', types.name(8), primary_key=True),
    sa.Column('measure', types.name(8), primary_key=True),
    sa.Column('threshold', sa.Integer, primary_key=True, autoincrement=False),
    sa.Column('account', types.name(256), nullable=False),
    sa.Column('budgeted', types.Exact(), nullable=False),
    sa.Column('amount', types.Exact(), nullable=False),
    sa.Column('currency', types.name(8), nullable=False),
    sa.Column('at', types.instant(), nullable=False),
    **OPTIONS,
)

# Webhooks of accounts.
webhooks = sa.Table(
    'webhooks',
    metadata,
    sa.Column('id', types.name(32), primary_key=True),
    sa.Column('account', types.name(256), nullable=False),
    sa.Column('url', types.text(), nullable=False),
    # Secrets that sign the messages; the previous one is used too until it is dropped.
    sa.Column('secret', types.name(64), nullable=False),
    sa.Column('previous_secret', types.name(64)),
    sa.Column('is_enabled', sa.Boolean, nullable=False),
    sa.Column('created_at', types.instant(), nullable=False),
    sa.Index('ix_webhooks_account', 'account'),
    **OPTIONS,
)

# Messages, written in the transaction of their cause, and removed when they are delivered.
outbox = sa.Table(
    'outbox',
    metadata,
    sa.Column('id', types.big_id(), primary_key=True, autoincrement=True),
    # Null: the message bus.
    sa.Column('webhook', types.name(32)),
    sa.Column('event', types.name(64), nullable=False),
    # The same at each attempt.
    sa.Column('message', types.name(40), nullable=False),
    sa.Column('payload', types.text(), nullable=False),
    sa.Column('attempts', sa.Integer, nullable=False),
    # Time of the next attempt, and why the last one failed.
    sa.Column('due_at', types.instant(), nullable=False),
    sa.Column('failure', types.name(255)),
    sa.Index('ix_outbox_due_at', 'due_at'),
    **OPTIONS,
)
