"""The feature cache against the encoder itself; torn, damaged, shared and full stores; arrays of the JAVE release."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ResNetConfig, ResNetModel

from avebench.contracts.examples import ZERO_PICTURE, Example, Picture
from avebench.files.errors import AvebenchError, DataError
from avebench.files.rowstore import ENTRY, RowStore, make_room
from avebench.nn.features import BATCH, CachedPatches, CachedPictures, PrecomputedFeatures
from avebench.nn.image_encoder import ImageEncoder, pixels_of

SIZE = 32


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test an empty cache of its own."""
    monkeypatch.setenv("AVEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny ResNet with four cells of 16 channels on 64 pixels, one cell on 32."""
    path = tmp_path_factory.mktemp("resnet")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic")
        ResNetModel(config).save_pretrained(path)
    return path


@pytest.fixture
def encoder(folder: Path) -> ImageEncoder:
    return ImageEncoder(str(folder), size=64, tuned=False)


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def drawn(number: int) -> Example:
    return Example(f"e{number}", "", (), product_id=f"p{number}", picture=Picture("x", lambda: noise(number)))


def stored(number: int, folder: Path) -> Example:
    path = folder / f"{number}.png"
    noise(number).save(path)
    return Example(f"e{number}", "", (), picture=Picture(path.name, path))


BLANK = Example("blank", "", ())
Count = Callable[[], int]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Count:
    """Return a function that says how many pictures were decoded since the last call."""
    calls: list[int] = []

    def counting(picture: Picture, size: int) -> Any:
        calls.append(1)
        return pixels_of(picture, size)

    monkeypatch.setattr("avebench.nn.features.pixels_of", counting)

    def count() -> int:
        number = len(calls)
        calls.clear()
        return number

    return count


def cached_patches(encoder: ImageEncoder, examples: Sequence[Example], batch_size: int = BATCH) -> CachedPatches:
    """Return the features of an encoder with those of the examples computed."""
    features = CachedPatches(encoder, batch_size)
    features.stack(examples)
    return features


def cached_pictures(size: int, examples: Sequence[Example]) -> CachedPictures:
    """Return decoded pictures with those of the examples done."""
    pictures = CachedPictures(size)
    for example in examples:
        pictures[example]
    return pictures


def direct(encoder: ImageEncoder, example: Example) -> torch.Tensor:
    return encoder(**encoder.collate([encoder.encode(example)]))[0]


def test_rows_equal_the_encoder_to_half_precision(encoder: ImageEncoder) -> None:
    examples = [drawn(number) for number in range(5)] + [BLANK]
    features = cached_patches(encoder, examples, batch_size=2)
    batch = features.stack(examples)
    assert batch.shape == (6, 4, 16) and batch.dtype == torch.float32
    for example, row in zip(examples, batch, strict=True):
        assert features[example].dtype == torch.float16 and torch.equal(features[example].float(), row)
        torch.testing.assert_close(row, direct(encoder, example), rtol=2**-10, atol=1e-5)
    assert not features[BLANK].any() and batch[:5].abs().sum((1, 2)).all()


def test_zero_picture_is_an_input_of_zeros(encoder: ImageEncoder) -> None:
    examples = [drawn(0), Example("z", "", (), picture=ZERO_PICTURE), drawn(1)]
    found = CachedPatches(encoder).stack(examples)
    with torch.no_grad():
        expected = encoder.grid(torch.zeros(1, 3, encoder.size, encoder.size)).flatten(2).transpose(1, 2)
        pixels = torch.full((2, 3, encoder.size, encoder.size), 77, dtype=torch.uint8)
        tuned = encoder(pixels, zeroed=torch.tensor([True, False]))
    torch.testing.assert_close(found[1:2], expected, rtol=2**-10, atol=1e-5)
    torch.testing.assert_close(tuned[:1], expected)
    torch.testing.assert_close(tuned[1:], encoder(pixels[1:]))
    torch.testing.assert_close(found[0], direct(encoder, examples[0]), rtol=2**-10, atol=1e-5)


def test_a_second_process_computes_nothing(encoder: ImageEncoder, encoded: Count, tmp_path: Path) -> None:
    examples = [drawn(0), drawn(1), stored(2, tmp_path), BLANK]
    first = cached_patches(encoder, examples).stack(examples)
    assert encoded() == 3
    again = cached_patches(encoder, examples)
    assert torch.equal(again.stack(examples), first) and encoded() == 0
    assert torch.equal(again.stack([drawn(7), drawn(0)])[1], first[0]) and encoded() == 1


def test_what_another_process_stored_meanwhile_is_not_computed(encoder: ImageEncoder, encoded: Count) -> None:
    one, other = cached_patches(encoder, [drawn(0)]), cached_patches(encoder, [drawn(0)])
    expected = one.stack([drawn(1), drawn(2)])
    encoded()
    assert torch.equal(other.stack([drawn(1), drawn(2)]), expected) and encoded() == 0
    other.stack([drawn(1), drawn(3)])
    one.stack([drawn(2), drawn(3)])
    assert encoded() == 1


def test_a_row_does_not_depend_on_what_was_computed_beside_it(
    encoder: ImageEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = [drawn(number) for number in range(7)]
    together = cached_patches(encoder, examples, batch_size=4).stack(examples)
    monkeypatch.setenv("AVEBENCH_CACHE", str(tmp_path / "other"))
    alone = CachedPatches(encoder, batch_size=4)
    assert torch.equal(torch.stack([alone[example] for example in examples[::-1]]).flip(0).float(), together)


def test_another_preprocessing_weight_or_picture_is_another_row(
    folder: Path, encoder: ImageEncoder, encoded: Count, tmp_path: Path
) -> None:
    example = stored(1, tmp_path)
    first = cached_patches(encoder, [example])[example]
    others = [
        ImageEncoder(str(folder), size=64, tuned=False, normalisation="released"),
        ImageEncoder(str(folder), size=64, tuned=False, layout="reshape"),
        ImageEncoder(str(folder), size=64, tuned=False),
    ]
    with torch.no_grad():
        others[2].model.model.embedder.embedder.convolution.weight.mul_(2)
    encoded()
    for other in others:
        assert not torch.equal(cached_patches(other, [example])[example], first) and encoded() == 1
    path = example.picture.source if example.picture else None
    assert isinstance(path, Path)
    before = path.stat()
    Image.fromarray(255 - np.asarray(noise(1))).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert not torch.equal(cached_patches(encoder, [example])[example], first) and encoded() == 1


def test_equal_pictures_of_several_sentences_are_computed_once(encoder: ImageEncoder, encoded: Count) -> None:
    features = cached_patches(encoder, [drawn(3), drawn(3), drawn(4)])
    assert encoded() == 2
    assert features.stack([drawn(3)] * 3).shape == (3, 4, 16) and encoded() == 0


def test_an_encoder_that_is_tuned_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="tuned"):
        cached_patches(ImageEncoder(str(folder), size=64), [])


def test_features_beyond_half_precision_are_an_error(encoder: ImageEncoder) -> None:
    with torch.no_grad():
        encoder.deviation.fill_(1e-12)
    with pytest.raises(AvebenchError, match="not finite in half precision"):
        cached_patches(encoder, [drawn(0)])


def test_a_missing_picture_is_the_data_error_of_the_picture(encoder: ImageEncoder, tmp_path: Path) -> None:
    example = Example("1", "", (), picture=Picture("gone.png", tmp_path / "gone.png"))
    with pytest.raises(DataError, match=r"gone\.png is missing"):
        cached_patches(encoder, [example])
    with pytest.raises(DataError, match=r"gone\.png is missing"):
        CachedPictures(SIZE)[example]


def test_decoded_pictures_are_the_encoders_own(encoder: ImageEncoder, encoded: Count, tmp_path: Path) -> None:
    examples = [stored(0, tmp_path), drawn(1)]
    pictures = cached_pictures(64, examples)
    assert encoded() == 2
    for example in examples:
        picture, expected = pictures[example], encoder.encode(example)
        assert picture is not None and expected is not None and torch.equal(picture, expected)
    assert pictures[BLANK] is None and cached_pictures(64, examples)[examples[0]] is not None and encoded() == 0
    assert encoder.collate([pictures[example] for example in (*examples, BLANK)])["present"].tolist() == [1, 1, 0]


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def row(number: int) -> Any:
    return np.full((2, 3), number, np.float16)


def store(name: str = "s", numbers: range | list[int] = range(0)) -> RowStore:
    rows = RowStore({"name": name}, (2, 3), np.float16)
    rows.append({key(number): row(number) for number in numbers})
    return rows


def held(rows: RowStore) -> list[int]:
    found = [rows.get(key(number)) for number in range(20)]
    assert all(value is None or (value == number).all() for number, value in enumerate(found))
    return [number for number, value in enumerate(found) if value is not None]


def test_stores_see_what_others_append(cache: Path) -> None:
    first, second = store(), store()
    first.append({key(1): row(1)})
    assert held(second) == []
    with second.exclusive():
        assert held(second) == [1]
        second.append({key(2): row(2)})
    first.refresh()
    assert held(first) == held(store()) == [1, 2] and len(first) == 2
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [first.folder.name]
    assert held(store("other")) == []


def test_a_view_survives_growth_and_removal_of_the_store() -> None:
    rows = store(numbers=range(3))
    view = rows.get(key(2))
    rows.append({key(3): row(3)})
    shutil.rmtree(rows.folder)
    assert view is not None and (view == 2).all() and held(rows) == [0, 1, 2, 3]
    rows.append({key(9): row(9)})
    assert held(rows) == held(store()) == [9]


def test_a_store_made_anew_elsewhere_is_noticed() -> None:
    rows = store(numbers=range(3))
    assert held(rows) == [0, 1, 2]
    shutil.rmtree(rows.folder)
    other = store(numbers=[7, 8, 9, 10])
    rows.refresh()
    assert held(rows) == held(other) == [7, 8, 9, 10]


@pytest.mark.parametrize("rows_cut", [0, 5, 12, 13, 30])
@pytest.mark.parametrize("index_cut", [0, 7, ENTRY.size, ENTRY.size + 1])
def test_a_torn_store_keeps_whole_rows_and_takes_new_ones(rows_cut: int, index_cut: int) -> None:
    rows = store(numbers=range(6))
    for name, cut in (("rows.bin", rows_cut), ("index.bin", index_cut)):
        path = rows.folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size - cut])
    whole = min((6 * 12 - rows_cut) // 12, (6 * ENTRY.size - index_cut) // ENTRY.size)
    torn = store()
    assert held(torn) == list(range(whole))
    torn.append({key(number): row(number) for number in range(whole, 9)})
    assert held(torn) == held(store()) == list(range(9))


def test_rows_without_entries_are_overwritten() -> None:
    rows = store(numbers=range(2))
    with (rows.folder / "rows.bin").open("ab") as stream:
        stream.write(b"left by a process that was killed")
    assert held(store()) == [0, 1]
    assert held(store(numbers=[5])) == held(store()) == [0, 1, 5]


def test_a_damaged_row_is_computed_again(encoder: ImageEncoder, encoded: Count, cache: Path) -> None:
    examples = [drawn(0), drawn(1)]
    first = cached_patches(encoder, examples).stack(examples)
    (data,) = cache.glob("*/rows.bin")
    content = bytearray(data.read_bytes())
    content[-3] ^= 255
    data.write_bytes(content)
    encoded()
    assert torch.equal(cached_patches(encoder, []).stack(examples), first) and encoded() == 1
    assert torch.equal(cached_patches(encoder, examples).stack(examples), first) and encoded() == 0


def test_rows_of_another_shape_or_type_are_refused() -> None:
    for wrong in (np.zeros((3, 2), np.float16), np.zeros((2, 3), np.float32)):
        with pytest.raises(ValueError, match="the store holds"):
            store().append({key(1): wrong})


PROCESS = """
import sys, time
import numpy as np
from avebench.files.rowstore import RowStore
rows = RowStore({"name": "s"}, (2, 3), np.float16)
"""
BUILD = """
for start in range(0, 20, 4):
    with rows.exclusive():
        missing = [n for n in range(start, start + 4) if n.to_bytes(32, "big") not in rows]
        if missing:
            time.sleep(0.01)
            rows.append({n.to_bytes(32, "big"): np.full((2, 3), n, np.float16) for n in missing})
            print(len(missing))
"""
HOLD = """
with rows.exclusive():
    print("held", flush=True)
    time.sleep(600)
"""


def process(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PROCESS + code], stdout=subprocess.PIPE, text=True)


def test_processes_that_build_at_once_share_the_work() -> None:
    processes = [process(BUILD) for _ in range(3)]
    made = sum(int(line) for one in processes for line in one.communicate(timeout=120)[0].split())
    assert made == 20 and [one.returncode for one in processes] == [0, 0, 0]
    rows = store()
    assert held(rows) == list(range(20)) and (rows.folder / "index.bin").stat().st_size == 20 * ENTRY.size


def test_a_killed_process_does_not_block_the_others() -> None:
    holder = process(HOLD)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    assert held(store(numbers=[1])) == [1]


def sized(name: str, used: float) -> RowStore:
    """Return a store of 4 rows, that is 4 * (12 + 36) bytes and the description, used `used` seconds ago."""
    rows = store(name, range(4))
    held(rows)
    moment = time.time() - used
    os.utime(rows.folder / "about.json", (moment, moment))
    return rows


def test_the_store_used_least_recently_is_evicted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = {name: sized(name, used) for name, used in (("a", 10), ("b", 30), ("c", 20))}
    size = sum(file.stat().st_size for file in stores["a"].folder.iterdir())
    monkeypatch.setenv("AVEBENCH_CACHE_GB", str((3 * size + 20) / 1e9))
    new = store("d", [1])
    assert held(new) == [1] and not stores["b"].folder.exists()
    assert all(stores[name].folder.is_dir() for name in ("a", "c"))
    assert held(stores["b"]) == [0, 1, 2, 3]
    assert {path.name for path in cache.iterdir() if path.is_dir()} == {
        rows.folder.name for rows in (stores["a"], stores["c"], new)
    }


def test_reading_counts_as_use(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = sized("a", 50), sized("b", 10)
    held(store("a"))
    monkeypatch.setenv("AVEBENCH_CACHE_GB", str(500 / 1e9))
    store("c", [1])
    assert first.folder.exists() and not second.folder.exists()


def test_a_store_that_is_being_written_is_not_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, idle = sized("a", 50), sized("b", 10)
    monkeypatch.setenv("AVEBENCH_CACHE_GB", str(500 / 1e9))
    with busy.exclusive():
        store("c", [1])
    assert busy.folder.exists() and not idle.folder.exists()


def test_a_store_larger_than_the_limit_stops_growing(
    encoder: ImageEncoder, encoded: Count, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = sized("a", 50)
    monkeypatch.setenv("AVEBENCH_CACHE_GB", "0.0000003")
    examples = [drawn(number) for number in range(12)]
    features = CachedPatches(encoder, batch_size=2)
    for _ in range(2):
        batch = features.stack(examples)
        assert encoded() == 12
        for example, found in zip(examples, batch, strict=True):
            torch.testing.assert_close(found, direct(encoder, example), rtol=2**-10, atol=1e-5)
        encoded()
    assert [record.levelname for record in caplog.records] == ["WARNING"] and "AVEBENCH_CACHE_GB" in caplog.text
    assert kept.folder.exists(), "evicting others would not have helped"


def test_a_cache_that_cannot_be_written_costs_no_run(
    encoder: ImageEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AVEBENCH_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("avebench.nn.features.weights_digest", lambda *_: "digest")
    features = cached_patches(encoder, [drawn(1)])
    torch.testing.assert_close(features.stack([drawn(1)])[0], direct(encoder, drawn(1)), rtol=2**-10, atol=1e-5)


def test_what_a_killed_eviction_left_is_cleared(cache: Path) -> None:
    rows = store(numbers=[1])
    (cache / ".x.1.removed").mkdir()
    (cache / ".x.1.removed" / "rows.bin").write_bytes(b"1")
    assert make_room(cache, rows.folder, 1)
    assert not (cache / ".x.1.removed").exists() and held(store()) == [1]


@pytest.mark.parametrize("value", ["much", "-1", "nan", ""])
def test_a_limit_that_is_no_number_is_an_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVEBENCH_CACHE_GB", value)
    with pytest.raises(AvebenchError, match="AVEBENCH_CACHE_GB"):
        store()


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Return a made-up folder in the layout of the JAVE release: three products, four regions of five channels."""
    (tmp_path / "cids_of_imgs").write_text("c_11\nc_22\n33\n")
    np.save(tmp_path / "imgs.embedded.npy", np.arange(60, dtype=np.float32).reshape(3, 4, 5))
    np.save(tmp_path / "imgs.embeddedG.npy", np.arange(15, dtype=np.float32).reshape(3, 5))
    return tmp_path


def product(identity: str, picture: str | None = None) -> Example:
    return Example(
        "e", "", (), product_id=identity, picture=None if picture is None else Picture(picture, Path(picture))
    )


def test_precomputed_rows_by_product_or_picture(release: Path) -> None:
    features = PrecomputedFeatures(release)
    assert (features.patches, features.channels) == (4, 5)
    examples = [product("c_22"), product("?", "33.jpg"), product("", "c_11")]
    for number, example in zip((1, 2, 0), examples, strict=True):
        assert features[example].flatten().tolist() == list(range(20 * number, 20 * number + 20))
    assert features.stack(examples)[:, 0, 0].tolist() == [20, 40, 0]
    assert features.pooled(examples).tolist() == [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14], [0, 1, 2, 3, 4]]
    with pytest.raises(AvebenchError, match=r"no row for the product 'c_99'.*cids_of_imgs"):
        features[product("c_99", "99.jpg")]


def test_faults_of_precomputed_arrays(release: Path) -> None:
    regions = release / "imgs.embedded.npy"
    np.save(regions, np.array([{"a": 1}] * 3, dtype=object), allow_pickle=True)
    faults: list[Callable[[], Any]] = [
        lambda: None,
        lambda: np.save(regions, np.zeros((2, 4, 5), np.float32)),
        lambda: np.save(regions, np.zeros((3, 5), np.float32)),
        lambda: np.save(regions, np.zeros((3, 4, 5), np.int64)),
        lambda: regions.write_bytes(b"\x93NUMPY"),
        regions.unlink,
    ]
    patterns = ["Python objects", r"m = 3", r"\(m, P, C\)", "int64", "cannot be read", "public sample of JAVE lacks it"]
    for fault, pattern in zip(faults, patterns, strict=True):
        fault()
        with pytest.raises(AvebenchError, match=pattern) as caught:
            _ = PrecomputedFeatures(release).channels
        assert "imgs.embedded.npy" in str(caught.value)
    assert PrecomputedFeatures(release).pooled([product("c_11")]).shape == (1, 5)
    (release / "cids_of_imgs").write_text("c_11\nc_22\nc_11\n")
    with pytest.raises(AvebenchError, match=r"line 3.*'c_11'"):
        PrecomputedFeatures(release)
    with pytest.raises(AvebenchError, match="cids_of_imgs"):
        PrecomputedFeatures(release / "nowhere")


def test_the_public_sample_lacks_the_regions() -> None:
    data = os.environ.get("AVEBENCH_DATA")
    folder = Path(data or "") / "mepave-sample" / "embedded"
    if data is None or not folder.is_dir():
        pytest.skip("There is no mepave-sample/embedded under AVEBENCH_DATA.")
    features = PrecomputedFeatures(folder)
    first = (folder / "cids_of_imgs").read_text().split()[0]
    expected = np.load(folder / "imgs.embeddedG.npy", allow_pickle=False)[0]
    assert np.array_equal(features.pooled([product(first)])[0].numpy(), expected)
    with pytest.raises(AvebenchError, match=r"imgs\.embedded\.npy .*is missing"):
        _ = features.patches
