"""The web demo: `flowvocoder demo`. `service` does the work and knows no web page; `app` and `tabs` are the page."""

import flowvocoder.demo.gradio_import  # noqa: F401  (before any other module here imports Gradio)
