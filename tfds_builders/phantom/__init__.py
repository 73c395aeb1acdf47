"""Procedural chest radiographs with exact masks."""
