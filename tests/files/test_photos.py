"""Pictures as cameras and shops make them: turned, deep, transparent, or no picture at all."""

import hashlib
import os
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from avebench.commands import data as command
from avebench.data import pictures
from avebench.data.pictures import PictureCheck, picture_fault
from avebench.files.errors import DataError
from avebench.files.folders import folder_digest
from avebench.files.photos import decoded, opens_as_stored


def pixels(path: Path) -> np.ndarray:
    return np.asarray(decoded(path)).astype(int)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_stands_as_its_camera_was_held(tmp_path: Path, orientation: int) -> None:
    # Four corners; by hand: what EXIF 2.32 says row 0 and column 0 of the stored picture are in the scene.
    stored = np.array([[10, 20], [30, 40], [50, 60]], dtype=np.uint8)  # 3 rows, 2 columns.
    scene = {
        1: [[10, 20], [30, 40], [50, 60]],
        2: [[20, 10], [40, 30], [60, 50]],
        3: [[60, 50], [40, 30], [20, 10]],
        4: [[50, 60], [30, 40], [10, 20]],
        5: [[10, 30, 50], [20, 40, 60]],
        6: [[50, 30, 10], [60, 40, 20]],
        7: [[60, 40, 20], [50, 30, 10]],
        8: [[20, 40, 60], [10, 30, 50]],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    Image.fromarray(stored).save(path, exif=exif)
    assert pixels(path)[..., 0].tolist() == scene
    assert opens_as_stored(path) == (orientation == 1)


def test_a_jpeg_of_a_camera_on_its_side_opens_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 32), "red").save(tmp_path / "side.jpg", exif=exif)
    assert decoded(tmp_path / "side.jpg").size == (32, 64)


def test_grey_of_sixteen_bits_is_scaled(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256 * 4).round().astype(np.uint16).reshape(4, 256)
    for name in ("ramp.png", "ramp.tiff"):
        Image.fromarray(ramp).save(tmp_path / name)
        found = pixels(tmp_path / name)
        assert found.mean() == pytest.approx(127.5, abs=0.5) and (found.min(), found.max()) == (0, 255)
        assert np.abs(found[..., 0] - ramp / 257).max() <= 0.5
        assert not opens_as_stored(tmp_path / name)
    integers = ramp.astype(np.int32)
    Image.fromarray(integers).save(tmp_path / "wide.tiff")
    assert pixels(tmp_path / "wide.tiff").mean() == pytest.approx(127.5, abs=0.5)
    Image.fromarray((ramp / 65535).astype(np.float32)).save(tmp_path / "fractions.tiff")
    assert pixels(tmp_path / "fractions.tiff").mean() == pytest.approx(127.5, abs=0.5)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "webp"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGBA", (2, 1), (200, 0, 0, 0))
    picture.putpixel((1, 0), (0, 0, 100, 255))
    path = tmp_path / ("cut.webp" if mode == "webp" else "cut.png")
    if mode == "LA":
        picture = Image.fromarray(np.array([[[200, 0], [100, 255]]], dtype=np.uint8))
    if mode == "P":
        picture = picture.convert("P")
        picture.putdata([0, 1])
        picture.putpalette([200, 0, 0, 0, 0, 100])
        picture.save(path, transparency=0)
    else:
        picture.save(path, **({"lossless": True, "exact": True} if mode == "webp" else {}))
    shown = pixels(path)[0]
    assert shown[0].tolist() == [255, 255, 255]
    assert shown[1].tolist() == ([100, 100, 100] if mode == "LA" else [0, 0, 100])
    assert not opens_as_stored(path)


def test_half_transparent_mixes_with_white(tmp_path: Path) -> None:
    Image.new("RGBA", (1, 1), (200, 0, 0, 51)).save(tmp_path / "half.png")  # A fifth of red on white.
    assert np.abs(pixels(tmp_path / "half.png")[0, 0] - [244, 204, 204]).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK"])
def test_plain_pictures_are_what_they_were(tmp_path: Path, mode: str) -> None:
    drawn = Image.fromarray(np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)).convert(mode)
    path = tmp_path / ("plain.jpg" if mode == "CMYK" else "plain.png")
    drawn.save(path)
    assert np.array_equal(pixels(path), np.asarray(Image.open(path).convert("RGB")))
    assert opens_as_stored(path)


def test_of_several_frames_the_first_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 3), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert pixels(tmp_path / "moving.gif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (1, 30_000), (30_000, 1)])
def test_odd_sizes_open(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("L", size).save(tmp_path / "50% off?#.PNG")
    assert decoded(tmp_path / "50% off?#.PNG").size == size


def test_what_is_no_regular_file_is_refused_and_nothing_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("pipe.png")
    (tmp_path / "folder.png").mkdir()
    script = (
        "import sys; from pathlib import Path\n"
        "from avebench.files.errors import DataError; from avebench.files.photos import decoded\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    try: decoded(path)\n"
        "    except DataError as error: print(error)\n"
    )
    paths = [str(tmp_path / name) for name in ("pipe.png", "link.png", "folder.png")]
    said = subprocess.run(
        [sys.executable, "-c", script, *paths], capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout.count("is no regular file (a folder, a pipe or a device)") == 3
    assert [picture_fault(Path(path)) for path in paths] == ["the picture is no regular file"] * 3


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_what_cannot_be_decoded_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.jpg cannot be decoded"):
        decoded(tmp_path / "broken.jpg")
    assert opens_as_stored(tmp_path / "broken.jpg")


def test_too_many_pixels_are_one_sentence(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    Image.new("1", (8, 8)).save(tmp_path / "small.png")
    header = bytearray((tmp_path / "small.png").read_bytes())
    header[16:24] = struct.pack(">II", 20_000, 20_000)
    header[29:33] = struct.pack(">I", zlib.crc32(bytes(header[12:29])))
    (tmp_path / "huge.png").write_bytes(header)
    with pytest.raises(DataError, match="has more than 178 million pixels"):
        decoded(tmp_path / "huge.png")
    Image.new("1", (13_000, 13_000)).save(tmp_path / "large.png")  # 169 million, of which Pillow warns.
    assert opens_as_stored(tmp_path / "large.png")
    assert not recwarn.list


def test_a_check_decodes_a_picture_once_and_blank_ones_are_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "there.png")
    opened: list[Path] = []
    monkeypatch.setattr(pictures, "picture_fault", lambda path: opened.append(path) or picture_fault(path))
    counts: Counter[str] = Counter()
    check = PictureCheck("error", counts)
    found = [check.fault(tmp_path / name) for name in ("there.png", "gone.png") * 50]
    assert (len(opened), [wrong for wrong in found if wrong]) == (2, ["the picture is missing"])
    assert counts == {"pictures missing": 1}
    blank = PictureCheck("blank", counts)
    assert blank.fault(tmp_path / "gone.png") is None and counts == {"pictures missing": 2}


def test_a_check_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 59.0, 61.0, 61.0, 100.0])
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    check = PictureCheck("error", Counter())
    with command.pictures_counted():
        for number in range(3):
            check.fault(tmp_path / f"{number}.png")
    check.fault(tmp_path / "later.png")
    assert capsys.readouterr().err == "Pictures looked at: 2.\n"


def test_only_folders_with_pictures_that_opened_otherwise_get_another_digest(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for number in range(3):
        Image.new("RGB", (4, 4)).save(plain / f"{number}.png")
    expected = hashlib.sha256()
    for number in range(3):
        expected.update(f"{number}.png\x1f{(plain / f'{number}.png').stat().st_size}\n".encode())
    assert folder_digest(plain) == expected.hexdigest()  # As every version computed it.
    Image.new("RGBA", (4, 4)).save(plain / "3.png")
    expected.update(f"3.png\x1f{(plain / '3.png').stat().st_size}\n".encode())
    assert folder_digest(plain) != expected.hexdigest()
