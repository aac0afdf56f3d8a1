"""Accounts and their scopes."""

import dataclasses
from collections.abc import Iterable

from cloudkitty import errors
from cloudkitty.core.billing.plan import Account, Document


def find(document: Document, account_id: str, *, has_statements: bool = False) -> Account:
    """Return an account of *document*; a scope that is in no account is an account of its own.

    An account that only older versions of the document name has no scopes and no plan any more.

    :param has_statements: the account has closed months, so it exists though its scope belongs to
        another one now: it owes corrections, and nothing else.
    :raises NotFound: it is a scope of another account.
    """
    found = document.accounts.get(account_id)
    if found is not None:
        return found
    is_scope = owner_of(document, account_id) == account_id
    if not (is_scope or has_statements):
        raise errors.NotFound(reason=f'There is no account {account_id}.')
    if is_scope and account_id not in document.former:
        return dataclasses.replace(
            document.defaults,
            id=account_id,
            name=account_id,
            scopes=(account_id,),
            owner=account_id,
        )
    return dataclasses.replace(document.defaults, id=account_id, name=account_id, plan=None, tax={})


def scopes_of(document: Document, account_id: str) -> tuple[str, ...]:
    """Return the ids of the scopes of an account; of one that there is not, none."""
    try:
        return find(document, account_id).scopes
    except errors.NotFound:
        return ()


def owner_of(document: Document, scope_id: str) -> str:
    """Return the id of the account that a scope belongs to."""
    return document.owners.get(scope_id, scope_id)


def all_of(document: Document, scope_ids: Iterable[str]) -> list[str]:
    """Return the ids of the accounts of *document*, and of the accounts of these scopes; sorted."""
    return sorted({*document.accounts, *(owner_of(document, scope) for scope in scope_ids)})
