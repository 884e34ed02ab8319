"""The built-in data set, made up by this project: `demo` is the plug-in, the rest is how its products are made.

`words` and `stream` are what the `generator` draws texts from, `looks`, `outlines` and `pictures` how it draws them.
All of it is frozen: the same bytes on every machine, or the fingerprint of the card is wrong.
"""
