"""The web demo: `flowvocoder demo`. `service` does the work and knows no web page; `app` and `tabs` are the page."""
