"""Draw the gallery's pictures for narrow screens into build/pictures: those missing, or older than their sources.

Unlike the rest of the site this needs biasvar; without these pictures the gallery shows the wide ones.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "experiments")]

import hooks  # noqa: E402
import redraw  # noqa: E402

from biasvar.progress import over  # noqa: E402
from biasvar.report import style  # noqa: E402


def main() -> int:
    """Draw what is published with its numbers and its arms."""
    code = max(path.stat().st_mtime for path in [ROOT / "experiments" / "redraw.py", *ROOT.glob("biasvar/**/*.py")])
    steps: dict[str, tuple[Path, Path]] = {}
    for picture in hooks.gallery_pictures():
        numbers, drawn = (ROOT / picture).with_suffix(".csv"), hooks.NARROW / hooks.narrow_name(picture)
        if not (numbers.is_file() and numbers.with_name("summary.json").is_file()):
            continue
        if not (drawn.is_file() and drawn.stat().st_mtime > max(code, numbers.stat().st_mtime)):
            steps[picture] = numbers, drawn
    with style.context():
        for picture in over(steps, unit="pictures", called="gallery"):
            numbers, drawn = steps[picture]
            drawn.parent.mkdir(parents=True, exist_ok=True)
            redraw.draw_narrow(numbers.parent, numbers.stem, drawn)
    return 0


if __name__ == "__main__":
    sys.exit(main())
