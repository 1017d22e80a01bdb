"""The local OCI image layout: blobs, tags, leases, garbage collection, quarantine."""
