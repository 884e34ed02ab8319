"""Systems that are asked: text and the name of an attribute in, the values of that attribute out.

SUOpenTag (ACL 2019) and AdaTag (ACL 2021) read a text once; AVEQA (KDD 2020), MAVEQA (WSDM 2022) and SMARTAVE (EMNLP
2022) once per attribute. What is asked of a product is the harness's decision, by the protocol of the row; systems that
label all attributes at once, or pick their range themselves, have families of their own.
"""
