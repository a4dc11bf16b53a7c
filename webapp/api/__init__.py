"""The JSON API: shapes, operations, the OpenAPI document, serializers."""
