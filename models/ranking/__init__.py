"""Systems that rank a closed list of values for a product and an attribute that they are told it has.

They do not extract: a value need not stand in the text, no span is given, and there is no answer "none", so that only
the gold attributes can be asked for. MAE-model (2017) reads text and pictures; the most common value reads nothing.
"""
