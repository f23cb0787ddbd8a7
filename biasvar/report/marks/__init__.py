"""Five marks, frame in, axes out: dots with intervals, lines with bands, heat, scatter, images.

A mark knows nothing of arms or runs. A figure picks the rows, says how each looks, and leaves the drawing to a mark:

    frame = looks.put_on(frame, styles, by="arm", hollow="failed")  # columns color, marker, linestyle, label, hollow
    places = forest.places(frame)  # the height of each (run, arm), with headings where there are several runs
    forest.name_rows(axes, places, labels)
    forest.draw(ax, places.on(frame), limits=scales.limits(frame, anchor=0.0), reference=0.0)
    scales.values(ax, "nats per sample")

    lines.draw(ax, frame, x="epoch")

    heat.draw(ax, matrix, top=30.0, texts=texts)  # a frame whose index and columns name the cells
    scatter.draw(ax, frame, x="d_bias", y="d_variance")
    images.draw(ax, image)  # an array, or None

    figure, parts = blocks.stacked(runs, heights, more=0.8)  # {run: part of the figure}, headed where there are several
    legends.below(figure, [legends.dot("o", "teacher on all rows")], columns=2)

`forest`, `lines` and `scatter` read the columns `color`, `marker`, `linestyle` and `hollow` that `looks.put_on` makes
and the columns `estimate`, `low` and `high` of an interval. What is hollow (failed replicas) sets no scale; what then
lies outside the axis becomes an arrow at its edge. Seaborn and matplotlib's artists are imported when a mark draws.
"""
