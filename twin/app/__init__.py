"""The planner page: a marimo app on this machine alone that answers schedules from one patient twin.

`launch` serves it, `planner` is the page, `desk` what it holds, `settings` what its controls mean, `view` and `figures`
what it shows, `export` what it writes. docs/planner.md is its manual.
"""
