"""What decides: facts, states and the next step of each case. The standard library alone, and no clock."""
