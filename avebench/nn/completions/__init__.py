"""Language models that are asked: questions and answers, where they are answered, and the cache of every answer.

What a system asks and how it reads the answers belongs to its plug-in. Nothing here knows of attributes or values.
"""
