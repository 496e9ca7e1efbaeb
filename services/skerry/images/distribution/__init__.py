"""The store as a registry: the OCI distribution API (/v2/) over the same catalog and blobs."""
