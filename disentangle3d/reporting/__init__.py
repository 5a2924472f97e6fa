"""Figures and the one-page report.

`figures` draws faces (overlays, views, heat maps), `pictures` arranges and
marks photos, `charts` plots numbers, `html_page` puts all into one file.
"""
