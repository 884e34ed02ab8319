"""Tables and figures as data, and their formats: terminal, Markdown, LaTeX, CSV, JSON, PNG, SVG.

What a comparison or a sweep says is worked out in `analysis`.
"""
