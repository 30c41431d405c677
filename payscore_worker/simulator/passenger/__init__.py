"""The passenger's page: a person plays the passenger."""
