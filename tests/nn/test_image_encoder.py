"""Patches against torchvision's and transformers' own forward passes, index arithmetic and figures worked by hand."""

import copy
import json
import os
import pickle
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as vision
from transformers import AutoModel, ResNetConfig, ResNetModel, SwinConfig, SwinModel, ViTConfig, ViTModel

from avebench.contracts.examples import Example, Picture
from avebench.files.errors import AvebenchError, DataError
from avebench.nn.image_encoder import ImageEncoder, patches_of, pixels_of
from avebench.nn.weights import TORCHVISION_FILES, weights_digest


def example(picture: Image.Image | Path | None, name: str = "p") -> Example:
    if picture is None:
        return Example("1", "", ())
    source = picture if isinstance(picture, Path) else lambda: picture
    return Example("1", "", (), picture=Picture(name, source))


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Give BatchNorm statistics that differ from batch statistics, as in a pretrained network."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


@pytest.fixture(scope="session")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Return the checkpoint of a ResNet-18 with random weights, and the network itself."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = randomised(torchvision.models.resnet18()).eval()
    path = tmp_path_factory.mktemp("resnet") / "weights.pth"
    torch.save(model.state_dict(), path)
    return path, model


def tiny(kind: str) -> Any:
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "hidden_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "vit":
            return ViTModel(ViTConfig(**sizes, image_size=32, patch_size=8))
        if kind == "swin":
            return SwinModel(SwinConfig(image_size=64, embed_dim=8, depths=[1, 1], num_heads=[1, 1], window_size=4))
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic")
        return randomised(ResNetModel(config))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folders of a tiny ViT, Swin and ResNet of transformers."""
    root = tmp_path_factory.mktemp("vision")
    for kind in ("vit", "swin", "resnet"):
        tiny(kind).save_pretrained(root / kind)
    return {kind: root / kind for kind in ("vit", "swin", "resnet")}


def test_grid_equals_what_reaches_torchvisions_pool(resnet18: tuple[Path, Any]) -> None:
    path, model = resnet18
    encoder = ImageEncoder(str(path), size=96, tuned=False)
    assert (encoder.channels, encoder.patches) == (512, 9)
    inputs = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected = create_feature_extractor(model, ["layer4"])(inputs)["layer4"]
    torch.testing.assert_close(encoder.grid(inputs), expected)


def test_named_resnet_comes_from_torchvisions_cache(
    resnet18: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
    with pytest.raises(AvebenchError, match=r"resnet18-f37072fd\.pth.*IMAGENET1K_V1"):
        ImageEncoder("resnet18", size=32)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    shutil.copy(resnet18[0], tmp_path / "hub" / "checkpoints" / "resnet18-5c106cde.pth")
    assert ImageEncoder("resnet18", size=32).channels == 512
    assert weights_digest("resnet18", "image") == weights_digest(str(resnet18[0]), "image")
    shutil.copy(resnet18[0], tmp_path / "hub" / "checkpoints" / "resnet34-b627a593.pth")
    with pytest.raises(AvebenchError, match="not that of a resnet34"):
        ImageEncoder("resnet34", size=32)


def test_file_names_are_torchvisions() -> None:
    for name, files in TORCHVISION_FILES.items():
        weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
        assert weights.url.rsplit("/", 1)[1] == files[0]
        assert all(re.fullmatch(rf"{name}-[0-9a-f]{{8}}\.pth", file) for file in files)


@pytest.mark.parametrize("name", list(TORCHVISION_FILES))
def test_every_resnet_is_told_by_its_tensors(name: str) -> None:
    from avebench.nn.image_encoder import _kind

    with torch.device("meta"):
        assert _kind(getattr(torchvision.models, name)().state_dict()) == name


def test_safetensors_and_old_checkpoints_load(resnet18: tuple[Path, Any], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensors = {name: value for name, value in torch.load(resnet18[0]).items() if "num_batches" not in name}
    save_file(tensors, tmp_path / "r.safetensors")
    pixels = torch.rand(1, 3, 32, 32)
    encoders = [ImageEncoder(str(path), size=32).eval() for path in (resnet18[0], tmp_path / "r.safetensors")]
    assert torch.equal(*(encoder(pixels) for encoder in encoders))


def test_transposition_keeps_cells_and_reshape_scrambles_them() -> None:
    batch, channels, height, width = 2, 5, 2, 3
    grid = torch.arange(batch * channels * height * width).view(batch, channels, height, width)
    cells, runs = patches_of(grid, "transpose"), patches_of(grid, "reshape")
    flat = grid.flatten().tolist()
    for b in range(batch):
        for p in range(height * width):
            for c in range(channels):
                assert cells[b, p, c] == grid[b, c, p // width, p % width]
                assert runs[b, p, c] == flat[b * channels * height * width + p * channels + c]


def test_layout_of_the_encoder(resnet18: tuple[Path, Any]) -> None:
    pixels = torch.rand(2, 3, 64, 64)
    straight, scrambled = (
        ImageEncoder(str(resnet18[0]), layout, size=64).eval() for layout in ("transpose", "reshape")
    )
    grid = straight.grid(straight.normalise(pixels))
    assert torch.equal(straight(pixels), grid.permute(0, 2, 3, 1).reshape(2, 4, 512))
    assert torch.equal(scrambled(pixels), grid.reshape(2, 4, 512))


def test_normalisation_by_hand(folders: dict[str, Path], tmp_path: Path) -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    expected = {
        "imagenet": [(0 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225],
        "released": [(0 - 0.48) / 0.214, (0.2 - 0.498) / 0.207, (1 - 0.531) / 0.207],
        "encoder": [(0 - 0.5) / 0.5, (0.2 - 0.25) / 0.5, (1 - 0.5) / 0.25],
    }
    folder = shutil.copytree(folders["resnet"], tmp_path / "r")
    constants = {"image_mean": [0.5, 0.25, 0.5], "image_std": [0.5, 0.5, 0.25]}
    (folder / "preprocessor_config.json").write_text(json.dumps(constants))
    for normalisation, values in expected.items():
        encoder = ImageEncoder(str(folder), normalisation=normalisation, size=64)  # type: ignore[arg-type]
        for given in (pixels, pixels / 255):
            torch.testing.assert_close(encoder.normalise(given)[0, :, 0, 0], torch.tensor(values))
    with pytest.raises(AvebenchError, match=r"preprocessor_config\.json.*imagenet"):
        ImageEncoder(str(folders["resnet"]), normalisation="encoder", size=64)


def test_pixels_equal_torchvisions_resize() -> None:
    for width, height in ((50, 20), (7, 90), (32, 32)):
        picture = noise(width, height)
        resized = vision.resize(picture, [32, 32], InterpolationMode.BILINEAR)
        expected = vision.pil_to_tensor(resized).numpy()
        assert np.array_equal(pixels_of(Picture("p", lambda picture=picture: picture), 32), expected)


def test_grey_and_transparent_files_become_rgb(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 128).save(tmp_path / "grey.png")
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    assert pixels_of(Picture("g", tmp_path / "grey.png"), 2).tolist() == [[[128] * 2] * 2] * 3
    assert pixels_of(Picture("c", tmp_path / "clear.png"), 2)[:, 0, 0].tolist() == [255] * 3


def test_hugging_face_grid_and_tokens(folders: dict[str, Path]) -> None:
    inputs = torch.randn(2, 3, 64, 64)
    for kind, patches, channels, prefix in (("resnet", 4, 16, 0), ("swin", 64, 16, 0), ("vit", 64, 16, 1)):
        encoder = ImageEncoder(str(folders[kind]), size=64).eval()
        assert (encoder.patches, encoder.channels) == (patches, channels), kind
        model = AutoModel.from_pretrained(folders[kind]).eval()
        options = {"interpolate_pos_encoding": True} if kind == "vit" else {}
        with torch.no_grad():
            states = model(inputs, **options).last_hidden_state
            found = patches_of(encoder.grid(inputs), "transpose")
        expected = states.permute(0, 2, 3, 1).flatten(1, 2) if states.dim() == 4 else states[:, prefix:]
        torch.testing.assert_close(found, expected)


def test_only_what_acts_on_patches_is_trained(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        encoder = ImageEncoder(str(folder), size=64)
        encoder(torch.rand(2, 3, 64, 64)).square().sum().backward()
        trained = {name: parameter for name, parameter in encoder.named_parameters() if parameter.requires_grad}
        assert trained and all(parameter.grad is not None for parameter in trained.values())
        assert not any("pooler" in name for name in trained)


@pytest.mark.parametrize(
    ("rule", "size", "moves"),
    [("auto", 15, False), ("auto", 16, True), ("train", 2, True), ("frozen", 16, False)],
)
def test_batch_norm_rule(rule: Any, size: int, moves: bool, folders: dict[str, Path]) -> None:
    encoder = ImageEncoder(str(folders["resnet"]), size=32, batch_norm=rule)
    before = copy.deepcopy(encoder.state_dict())
    pixels = torch.rand(size, 3, 32, 32)
    patches = encoder(pixels)
    assert patches.requires_grad
    moved = [name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])]
    assert bool(moved) is moves and all("running_" in name or "num_batches" in name for name in moved)
    encoder.load_state_dict(before)
    assert torch.allclose(patches, encoder.eval()(pixels), atol=1e-5) is not moves


def test_an_encoder_that_is_not_tuned_never_changes(folders: dict[str, Path]) -> None:
    encoder = ImageEncoder(str(folders["resnet"]), size=32, tuned=False, batch_norm="train").train()
    before = copy.deepcopy(encoder.state_dict())
    assert not encoder(torch.rand(16, 3, 32, 32)).requires_grad
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_products_without_a_picture_have_zero_patches(folders: dict[str, Path]) -> None:
    encoder = ImageEncoder(str(folders["resnet"]), size=32)
    examples = [example(noise(40, 30)), example(None), example(noise(9, 9, seed=1)), example(None)]
    batch = encoder.collate([encoder.encode(one) for one in examples])
    assert batch["pixels"].shape == (4, 3, 32, 32) and batch["present"].tolist() == [True, False, True, False]
    patches = encoder(**batch)
    assert not patches[1].any() and not patches[3].any()
    torch.testing.assert_close(patches[0], encoder(batch["pixels"][:1])[0])
    torch.testing.assert_close(patches[2], encoder(batch["pixels"][2:3])[0])
    patches.sum().backward()
    nothing = encoder(**encoder.collate([None, None]))
    assert nothing.shape == (2, 1, 16) and not nothing.any()


def test_building_leaves_the_seed_alone_and_copies_are_independent(resnet18: tuple[Path, Any]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    encoder = ImageEncoder(str(resnet18[0]), size=32).eval()
    assert torch.equal(torch.rand(3), expected)
    pixels = torch.rand(1, 3, 32, 32)
    twin = copy.deepcopy(encoder)
    with torch.no_grad():
        before = encoder(pixels)
        for parameter in encoder.parameters():
            parameter.zero_()
        assert torch.equal(twin(pixels), before) and not torch.equal(encoder(pixels), before)


class _Bomb:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pth", ".bin", "folder"])
def test_pickled_objects_are_refused(suffix: str, folders: dict[str, Path], tmp_path: Path) -> None:
    trap = tmp_path / "opened"
    if suffix == "folder":
        name = shutil.copytree(folders["resnet"], tmp_path / "model")
        (name / "model.safetensors").unlink()
        torch.save({"embedder": _Bomb(trap)}, name / "pytorch_model.bin")
    else:
        name = tmp_path / f"weights{suffix}"
        name.write_bytes(pickle.dumps(_Bomb(trap), protocol=2))
    with pytest.raises(AvebenchError, match=r"pickled Python objects.*never loaded"):
        ImageEncoder(str(name), size=32)
    assert not trap.exists()


FAULTS = {
    "no such file": "does not exist",
    "no such model": "neither a folder here nor in the local Hugging Face cache.*--image-encoder",
    "no config": "no config.json",
    "computed features": "computed features",
    "unknown type": "no model that transformers knows",
    "text model": "does not take a picture alone",
    "wrong shapes in a folder": "missing or of another shape",
    "cut weights in a folder": "cannot be loaded",
    "wrong shapes": "does not fit a resnet18.*'conv1.weight'",
    "another network": "not that of a ResNet-18",
    "no tensors": "no state_dict",
    "cut checkpoint": "damaged|cannot be loaded",
    "web page": "damaged",
    "size": "8 x 8",
}


def broken(fault: str, path: Path, resnet18: Path, folders: dict[str, Path], tiny_bert: Path) -> str:
    """Return the name of an encoder with the fault."""
    if fault == "no such model":
        return "nobody/nothing"
    if fault == "text model":
        return str(tiny_bert)
    if fault == "size":
        return str(folders["vit"])
    if fault in ("no config", "computed features"):
        path.mkdir()
        (path / ("cids_of_imgs" if fault == "computed features" else "x.txt")).write_text("c_1\n")
        return str(path)
    if fault in ("unknown type", "wrong shapes in a folder", "cut weights in a folder"):
        shutil.copytree(folders["resnet"], path)
        config = json.loads((path / "config.json").read_text())
        config |= {"model_type": "nonsense"} if fault == "unknown type" else {}
        config |= {"embedding_size": 4} if fault == "wrong shapes in a folder" else {}
        (path / "config.json").write_text(json.dumps(config))
        if fault == "cut weights in a folder":
            (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:999])
        return str(path)
    file = path.with_suffix(".pth")
    tensors = torch.load(resnet18)
    if fault == "wrong shapes":
        torch.save({**tensors, "conv1.weight": torch.zeros(2, 2)}, file)
    elif fault == "another network":
        torch.save({"features.weight": torch.zeros(2)}, file)
    elif fault == "no tensors":
        torch.save([1, 2], file)
    elif fault == "cut checkpoint":
        file.write_bytes(resnet18.read_bytes()[:5000])
    elif fault == "web page":
        file.write_text("<html>Not found</html>")
    return str(file)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_encoder_is_one_clear_error(
    fault: str,
    resnet18: tuple[Path, Any],
    folders: dict[str, Path],
    tiny_bert: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    name = broken(fault, tmp_path / "encoder", resnet18[0], folders, tiny_bert)
    capfd.readouterr()
    with pytest.raises(AvebenchError, match=FAULTS[fault]) as caught:
        ImageEncoder(name, size=4 if fault == "size" else 32)
    message = str(caught.value)
    assert name in message and "\n" not in message and message.endswith((".", ").")) and "\x1b" not in message, message
    assert capfd.readouterr() == ("", "")


def test_a_missing_picture_says_where(tmp_path: Path, folders: dict[str, Path]) -> None:
    encoder = ImageEncoder(str(folders["resnet"]), size=32)
    with pytest.raises(DataError, match=r"gone\.jpg is missing"):
        encoder.encode(example(tmp_path / "gone.jpg"))
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataError, match=r"cut\.png cannot be decoded"):
        encoder.encode(example(tmp_path / "cut.png"))


def test_a_real_pretrained_folder() -> None:
    data = os.environ.get("AVEBENCH_DATA")
    folder = Path(data or "") / "weights" / "mobilenet-v1-imagenet"
    if data is None or not folder.is_dir():
        pytest.skip("There is no weights/mobilenet-v1-imagenet under AVEBENCH_DATA.")
    encoder = ImageEncoder(str(folder), normalisation="encoder", tuned=False)
    assert (encoder.patches, encoder.channels) == (49, 1024)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 224, 224), dtype=np.uint8))
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder).eval()((pixels / 255 - 0.5) / 0.5).last_hidden_state
    assert states.shape == (2, 1024, 7, 7)
    patches = encoder(pixels)
    for row, column in ((0, 0), (3, 5), (6, 6)):
        torch.testing.assert_close(patches[:, 7 * row + column], states[:, :, row, column])
