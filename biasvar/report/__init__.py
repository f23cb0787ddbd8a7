"""The report: figures, tables and one page from what a run left on disk. `python -m biasvar.report RUN`.

It reads records (and data, for pictures) and never imports training, so that it needs no torch.
"""
