"""Your own sources, annotators and judges: `plugins.my_judge:MyJudge` in params.yaml names a class
of plugins/my_judge.py. The stages depend on this folder, so that a change here runs them again.
docs/extending.md has a complete example.
"""
