"""The sweep file as frozen models, and the checks across its blocks."""
