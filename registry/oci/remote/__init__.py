"""Registries as the OCI distribution-spec knows them: one repository at a time, blob by blob. No artifacts."""
