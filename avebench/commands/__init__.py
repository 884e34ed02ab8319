"""The command line: what each command does, and the app that collects them.

What a notebook would want as well belongs to an earlier room.
"""
