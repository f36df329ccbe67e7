"""What changed between two git revisions of a project: `xraygen diff`."""
