"""The report of a study: one page, and its figures as PNG files beside it, in the style of the sweeps' reports.

``data`` gathers what is shown; ``history``, ``landscape``, ``parity`` and ``pictures`` draw; ``page`` puts it together.
"""
