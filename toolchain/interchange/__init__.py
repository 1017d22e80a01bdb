"""Imports and exports: OCI archives, image layouts, plain folders, and recipes from other tools' files."""
