"""Refunds: the one call that every product shares, told apart by the transaction alone."""
