"""What changed between two revisions of a project, and whether it holds: `xraygen diff`."""
