"""The revisions, in order of their numbers. A revision that was released never changes.

After the first one each schema has two at most: `NNNN_pre` adds what hubs of the schema before do not notice (tables, indexes, columns that
may be NULL or have a default), `NNNN_post` removes what only those needed. `hub.store.schema` decides when each may run.
"""
