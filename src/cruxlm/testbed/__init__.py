"""A generated instruction language, and a small model trained on it.

The testbed gives studies and tests a language model whose knowledge is known to the
last fact: every prompt is drawn from a seeded generator and has one checkable answer.

``language`` draws rows, ``tokenizer`` trains the tokenizer, ``train`` trains the model,
``shipped`` finds the weights that come with the package. Importing this package loads
none of them.
"""
