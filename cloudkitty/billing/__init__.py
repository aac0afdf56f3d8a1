"""Billing: statements of accounts, made of the sums in the storage and the prices of plans."""
