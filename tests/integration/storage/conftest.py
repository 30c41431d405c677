from tests.integration.databases import database_url, empty_database_url, storage

__all__ = ["database_url", "empty_database_url", "storage"]
