"""JSON API: models of requests and answers, OpenAPI document."""
