"""Building blocks of neural systems: CRF, encoders, attention, batching, features, pretrained weights by name.

What only one family of systems uses belongs to that family; the loop that trains them is the next room.
"""
