"""Settles ride-hailing trips through WeChat PayScore."""
