"""JSON API: shapes, operations, OpenAPI document, serializers."""
