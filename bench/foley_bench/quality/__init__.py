"""How well a trained bundle does what captions ask, and how near its sounds are to real ones.

`asks.py` draws captions, `sources.py` makes clips of them, `listening.py` checks and measures the clips. `score.py`,
`curve.py` and `gallery.py` do the work of the three commands; `tables.py` and `plot.py` show what the first two record.
"""
