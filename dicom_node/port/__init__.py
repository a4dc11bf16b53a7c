"""The DICOM port: connections, PDUs, associations, TLS and access control."""
