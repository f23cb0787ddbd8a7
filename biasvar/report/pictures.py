"""Images of samples: from an array, a Parquet file, a folder of image files or a data set, found by id or row."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biasvar.columns import SAMPLE_ID
from biasvar.errors import RecordError
from biasvar.files import unreadable
from biasvar.messages import first_few
from biasvar.records import Run
from biasvar.records.numpy_files import check_numpy

if TYPE_CHECKING:
    import pyarrow as pa

    from biasvar.data import Dataset

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
IMAGE_COLUMNS = ("image", "img", "images", "png", "jpg")
IN_ORDER = "in the order of rising sample ids"


@dataclass(frozen=True)
class Pictures:
    """Images of samples: `at(rows)` for rows in the order of the samples that they were opened for.

    Attributes:
        one: the image of a row, in any of the usual shapes.
        class_names: of the data set that they come from, if it is one.
        rule: how an image was found for a sample, in words.
    """

    one: Callable[[int], np.ndarray]
    class_names: tuple[str, ...] | None
    rule: str

    def at(self, rows: Iterable[int]) -> list[np.ndarray]:
        """The images of these rows, (H, W) or (H, W, 3); those with values below 0 are stretched to 0 .. 1."""
        return [_shown(np.asarray(self.one(int(row)))) for row in rows]


class PicturedRun(Run):
    """A run with images of its samples, and the class names of their data set where it has none itself.

    Attributes:
        pictures: by split, with the sample ids (n,) that their rows are of, rising.
    """

    def __init__(self, run: Run, pictures: dict[str, tuple[np.ndarray, Pictures]]) -> None:
        names = next((found.class_names for _, found in pictures.values() if found.class_names), None)
        numbers = [str(number) for number in range(run.num_classes)]
        unnamed = [str(name) for name in run.manifest.get("class_names") or numbers] == numbers
        given = {"class_names": list(names)} if unnamed and names and len(names) == run.num_classes else {}
        super().__init__(run.directory, run.manifest | given)
        self.pictures = pictures


def with_pictures(run: Run, place: str, splits: Iterable[str]) -> Run:
    """The run with images of its samples of these splits, as `open_pictures` finds them; of splits that it lacks none.

    Raises:
        RecordError: A run without any of the splits.
        FileNotFoundError, ValueError: As `open_pictures`, after the run's name.
    """
    samples, found = run.samples, {}
    for split in dict.fromkeys(splits):
        own = samples[samples["split"] == split].drop_duplicates("sample_id").sort_values("sample_id")
        if len(own):
            ids, labels = own["sample_id"].to_numpy(), own["label"].to_numpy()
            found[split] = (
                ids,
                open_pictures(place, ids, labels, what=f"{split} samples of {run.name}", names=run.sample_names(split)),
            )
    if not found:
        raise RecordError(f"{run.directory} has no samples of split {' or '.join(dict.fromkeys(splits))} to show")
    return PicturedRun(run, found)


def pictures_of(run: Run, split: str, sample_ids: Iterable[int]) -> dict[int, np.ndarray]:
    """The images of samples by id; empty where the run came without images of the split."""
    if not isinstance(run, PicturedRun) or split not in run.pictures:
        return {}
    ids, pictures = run.pictures[split]
    wanted = np.unique(np.fromiter(sample_ids, dtype=np.int64))
    return dict(zip(wanted.tolist(), pictures.at(np.searchsorted(ids, wanted).tolist()), strict=True))


def open_pictures(
    place: str,
    sample_ids: np.ndarray,
    labels: np.ndarray,
    *,
    what: str = "soft labels",
    one_a_row: bool = False,
    names: list[str] | None = None,
) -> Pictures:
    """Images of samples, looked at here and read when they are asked for.

    - `.npy`: numbers (N, H, W), (N, H, W, C) or (N, C, H, W). As many as samples, in the order of rising ids; or, where
      ids are not 0 .. n - 1 and N is above the largest, image i of sample i.
    - `.parquet` with a column of encoded images: by its column `sample_id`; else in the order of rising ids, unless it
      has labels, by which it is a data set.
    - a folder of image files (png, jpeg, ...): by the samples' names, paths in the folder or file names with a suffix
      or without; by file names that are sample ids (`123.png`, `img_00123.png`); else as many as samples, in the order
      of folder and name (that of torchvision's ImageFolder), for rising ids.
    - a data set's name, Parquet file or folder of shards, with labels: by id, by split and row, or by split and id,
      whichever has all labels right.

    Args:
        place: The file, folder or name.
        sample_ids, labels: (n,) of the samples; unless `one_a_row`, ids rise.
        what: The samples in words.
        names: By sample id, of all samples of the split, where they have any.
        one_a_row: Refuse to find images of an array or a file by id: there is one for each row.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another number of images, another format, or other labels; says what would do.
    """
    path = Path(place).expanduser()
    suffix = path.suffix.lower()
    wanted = _Wanted(sample_ids, what, one_a_row)
    if suffix == ".npy":
        return _of_array(path, wanted)
    if suffix in (".npz", ".csv", ".pt", ".pth", ".pkl", ".h5", ".zip", ".tar", ".gz", *SUFFIXES):
        raise RecordError(
            f"--images {path}: give a .npy array of (N, H, W) or (N, H, W, 3), a .parquet with a column of encoded "
            "images, a folder of image files, or a data set's name"
        )
    if suffix == ".parquet" and path.is_file() and (found := _of_parquet(path, wanted, labels)) is not None:
        return found
    if path.is_dir() and not any(path.rglob("*.parquet")):
        return _of_folder(path, wanted, names)
    return _of_data(place, wanted, labels)


@dataclass(frozen=True)
class _Wanted:
    """The samples that images are looked for: ids in their order, and what they are in words."""

    ids: np.ndarray
    what: str
    one_a_row: bool

    @property
    def said(self) -> str:
        n = len(self.ids)
        if self.one_a_row:
            return f"{n:,} {self.what}"
        return f"{n:,} {self.what} (sample ids {int(self.ids.min())} to {int(self.ids.max())})"

    def rows(self, count: int, source: str) -> tuple[np.ndarray | None, str]:
        """Which of so many images each sample has (None: its own row), and the rule."""
        n, most = len(self.ids), int(self.ids.max())
        if count == n:
            return None, IN_ORDER
        if not self.one_a_row and count > most and most >= n:  # ids are those of a larger set
            return self.ids, "by sample id: image i is sample i"
        cure = "" if self.one_a_row or most < n else f", or more than {most:,}, of which image i is sample i"
        raise RecordError(
            f"{source} holds {count:,} images, there are {self.said}: give one image for each, "
            f"{'in the order of the rows' if self.one_a_row else IN_ORDER}{cure}"
        )


def _of_array(path: Path, wanted: _Wanted) -> Pictures:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is no file")
    check_numpy(path)
    try:
        images: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise RecordError(f"{path} cannot be read as a NumPy file ({error})") from None
    colour = images.ndim == 4 and (images.shape[3] in (1, 3) or images.shape[1] in (1, 3))
    n = len(wanted.ids)
    if not (images.ndim == 3 or colour) or images.dtype.kind not in "uif" or (wanted.one_a_row and len(images) != n):
        raise RecordError(
            f"images {path} must hold numbers of shape ({n}, H, W), ({n}, H, W, 3) or ({n}, 3, H, W), one image for "
            f"each of the {wanted.what}; it holds {images.dtype} of shape {images.shape}"
        )
    rows, rule = wanted.rows(len(images), f"images {path}")
    return Pictures(lambda row: images[row if rows is None else rows[row]], None, rule)


def _of_parquet(path: Path, wanted: _Wanted, labels: np.ndarray) -> Pictures | None:
    """Images of a Parquet file by its sample ids or in order; None where it has labels and no ids, as a data set."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            layout, count = file.schema_arrow, file.metadata.num_rows
            ids = None
            if SAMPLE_ID in layout.names and not wanted.one_a_row:
                ids = file.read(columns=[SAMPLE_ID]).column(0).to_numpy()
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error, "Parquet", "give another file of images") from None
    has_labels = {"label", "labels", "fine_label"} & set(layout.names)
    if has_labels and ids is None:
        return None
    column = next((name for name in IMAGE_COLUMNS if name in layout.names and _holds_images(layout.field(name))), None)
    column = column or next((field.name for field in layout if _holds_images(field)), None)
    if column is None:
        raise RecordError(
            f"images {path} has no column of encoded images (PNG or JPEG bytes, or a struct with `bytes`); it has "
            f"{first_few(layout.names)}"
        )
    if ids is not None:
        order = np.argsort(ids, kind="stable")
        at = np.minimum(np.searchsorted(ids, wanted.ids, sorter=order), max(len(ids) - 1, 0))
        rows = order[at] if len(ids) else at
        lacking = wanted.ids[ids[rows] != wanted.ids] if len(ids) else wanted.ids
        if len(lacking):
            raise RecordError(f"images {path} lacks sample_id {first_few(lacking)} of the {wanted.said}")
        rule = "by the column sample_id"
    else:
        found, rule = wanted.rows(count, f"images {path}")
        rows = np.arange(count) if found is None else found
    cells = _Cells(path, column)
    _decoded(cells.at(int(rows[0])), f"{path}: row {rows[0]}")
    return Pictures(lambda row: _decoded(cells.at(int(rows[row])), f"{path}: row {rows[row]}"), None, rule)


def _holds_images(field: pa.Field) -> bool:
    import pyarrow as pa

    kind = field.type
    if pa.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


@dataclass(frozen=True)
class _Cells:
    """Single cells of a column of a Parquet file, read by its row groups."""

    path: Path
    column: str

    def at(self, row: int) -> bytes | None:
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            first = 0
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                if row < first + size:
                    for batch in file.iter_batches(1024, row_groups=[group], columns=[self.column]):
                        if row < first + batch.num_rows:
                            cell = batch.column(0)[row - first].as_py()
                            return cell["bytes"] if isinstance(cell, dict) else cell
                        first += batch.num_rows
                first += size
        raise RecordError(f"{self.path} has no row {row}")


def _decoded(data: bytes | None, where: str) -> np.ndarray:
    from PIL import Image

    try:
        if data is None:
            raise ValueError("the cell is empty")
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RecordError(f"{where} is no image that can be read ({str(error).splitlines()[0]})") from None


def _of_folder(path: Path, wanted: _Wanted, names: list[str] | None) -> Pictures:
    files = [file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.name[0] != "."]
    if not files:
        raise RecordError(f"images {path}: the folder holds no image files ({', '.join(SUFFIXES[:3])}, ...)")
    files.sort(key=lambda file: (str(file.parent.relative_to(path)), file.name))
    called = _called(path, files, [names[number] for number in wanted.ids.tolist()]) if names else None
    if called is not None:
        return Pictures(lambda row: _decoded(called[row].read_bytes(), str(called[row])), None, "by the samples' names")
    numbers = [re.fullmatch(r"\D*(\d+)", file.stem) for file in files]
    by_id: dict[int, Path] = {}
    if all(numbers) and not wanted.one_a_row:
        by_id = {int(match[1]): file for match, file in zip(numbers, files, strict=True) if match}
    if by_id and len(by_id) == len(files) and set(wanted.ids.tolist()) <= set(by_id):
        chosen, rule = [by_id[number] for number in wanted.ids.tolist()], "by the numbers in the files' names"
    elif len(files) == len(wanted.ids):
        if all(file.parent == files[0].parent for file in files) and files != sorted(files, key=_natural):
            first, second = files[1].name, sorted(files, key=_natural)[1].name
            raise RecordError(
                f"images {path}: the order of the files is not clear, since {first} and {second} are the second by "
                "letters and by number: name each file after its sample id, or write all numbers with as many digits"
            )
        chosen, rule = files, f"files in the order of folder and name for samples {IN_ORDER}"
    else:
        lacking = [number for number in wanted.ids.tolist() if number not in by_id]
        some = f"; none is named after sample {first_few(lacking)}" if by_id and lacking else ""
        raise RecordError(
            f"images {path}: the folder holds {len(files):,} image files, there are {wanted.said}{some}: name each "
            "file after its sample id (12.png), or give as many files as samples, in the order of folder and name"
        )
    _decoded(chosen[0].read_bytes(), str(chosen[0]))
    return Pictures(lambda row: _decoded(chosen[row].read_bytes(), str(chosen[row])), None, rule)


def _called(path: Path, files: list[Path], names: list[str]) -> list[Path] | None:
    """The files that samples are named after: by path in the folder, file name or stem; None if some has no file."""
    keys: list[Callable[[Path], str]] = [
        lambda file: file.relative_to(path).as_posix(),
        lambda file: file.relative_to(path).with_suffix("").as_posix(),
        lambda file: file.name,
        lambda file: file.stem,
    ]
    for key in keys:
        found = {key(file): file for file in files}
        if len(found) == len(files) and set(names) <= set(found):
            return [found[name] for name in names]
    return None


def _natural(file: Path) -> list[Any]:
    """A key that sorts names by the numbers in them: 2.png before 10.png."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]


def _of_data(place: str, wanted: _Wanted, labels: np.ndarray) -> Pictures:
    from biasvar.data import load_dataset

    data = load_dataset(place)
    if data.is_vectors:
        raise ValueError(f"{data.name} holds features, not images; give the images of the same rows, or leave them out")
    tried = []
    for rule, rows in _candidates(wanted.ids, data):
        differs = data.labels[rows] != labels
        if not differs.any():
            return Pictures(lambda row, rows=rows: data.images[rows[row]], data.class_names, rule)  # type: ignore[misc]
        row = int(np.argmax(differs))
        tried.append(f"{rule} row {row} is of class {data.labels[rows[row]]} there, {labels[row]} here")
    why = "; ".join(tried) or f"it has {len(data.labels):,} rows, and no split of {len(labels):,}"
    raise ValueError(
        f"the images of {data.name} are not those of these {len(labels):,} {wanted.what}: {why}. Give the images as a"
        f" .npy array {'in the order of the rows' if wanted.one_a_row else IN_ORDER}"
    )


def _candidates(sample_ids: np.ndarray, data: Dataset) -> Iterator[tuple[str, np.ndarray]]:
    if sample_ids.min() < 0:
        return
    most, total = int(sample_ids.max()), len(data.labels)
    if most < total:
        yield "by sample_id,", sample_ids
    for name in ("test", "train") if data.split is not None else ():
        rows = np.flatnonzero(data.split == name)
        if len(rows) == len(sample_ids):
            yield f"as the {name} split,", rows
        elif most < len(rows):
            yield f"by sample_id in the {name} split,", rows[sample_ids]


def _shown(image: np.ndarray) -> np.ndarray:
    """An image as (H, W) or (H, W, 3), with no value below 0; colours as bytes or from 0 to 1."""
    if image.ndim == 3 and image.shape[-1] not in (1, 3) and image.shape[0] in (1, 3):
        image = np.moveaxis(image, 0, -1)
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    low, high = image.min(), image.max()
    if image.dtype.kind in "if" and low < 0:
        scaled: Any = (image.astype(np.float64) - low) / ((high - low) or 1.0)
        return np.asarray(scaled)
    if image.ndim == 3 and image.dtype != np.uint8 and high > 1:
        return np.asarray(image / (255.0 if high <= 255 else float(high)))
    return image
