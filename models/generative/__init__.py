"""Systems that write: a text goes in, and a language model writes attributes and values, which are read off its answer.

What all of them share is the way from pairs to a string and back (`codec`), and from strings to places in the text.
"""
