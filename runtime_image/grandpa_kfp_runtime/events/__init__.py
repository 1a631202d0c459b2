"""What happens in a run, as data: kinds of events, their form in a file, who hears of them, the thread that tells.

Engines and containers tell the same events by the same `Journal`.
"""
