"""HTTP/1.1 connections: their number, their timeouts, and the parsing of requests. Routes are elsewhere."""
