"""Alembic's entry point: runs the migrations on the connection it is given."""

from alembic import context

from payscore_worker.storage.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("run migrations with `payscore-worker migrate`")
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=connection.dialect.name == "postgresql",  # an index is built between two of them
)
with context.begin_transaction():
    context.run_migrations()
