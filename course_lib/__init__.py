"""The library behind *Departing from Supervised Learning*.

A ground floor that knows no method (``rng``, ``data``, ``batches``, ``noise``, ``training``, ``metrics``, ``results``,
``weights``, ``plots``, ``widgets``), one room for each part of the lecture (``denoising``, …), and a roof that knows
them all (``recipes``, ``cli``). Importing the package imports nothing else and does nothing.
"""

__version__ = "0.1.0"
