"""A client of the OCI distribution-spec for the blobs and manifests of one repository."""
