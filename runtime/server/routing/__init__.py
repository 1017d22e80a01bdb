"""Routes: each is declared once, which gives its place in Sanic's router and in the OpenAPI document."""
