"""Builds the roles from the settings, one module each; a role loads what it needs and no more."""
