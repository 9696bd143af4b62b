"""Asks AWS the open questions of docs/assumptions.md. docs/live.md says how."""
