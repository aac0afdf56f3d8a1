"""Billing: statements of accounts, from the sums in the storage and the prices of plans."""
