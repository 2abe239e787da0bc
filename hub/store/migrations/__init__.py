"""The history of the schema: one Alembic revision a change, run by `hub.store.schema`."""
