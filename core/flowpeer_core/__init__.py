"""The ground under every package: what each of them may know, and nothing that knows them.

Importing this package imports nothing else. numpy stands behind `percentile`, pyarrow behind
`columns`; `asns`, `slots`, `roles`, `p95` and `addresses` are plain Python.
"""
