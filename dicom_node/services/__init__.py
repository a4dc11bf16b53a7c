"""Services that this node provides (SCP): storage, query, retrieve, storage commitment."""
