"""From the sums of a month to a statement: plans, prices, tax and corrections. Pure."""
