"""Files, the terminal and the errors of a user: nothing here knows of attributes, models or tables.

Atomic writes, digests, the cache folder, memory-mapped rows, text and TOML from outside, pictures as pixels. What knows
what is in a file belongs to a later room.
"""
