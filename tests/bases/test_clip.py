"""A model of pictures and texts embeds as open_clip itself does, says nothing, and is refused in a sentence."""

from __future__ import annotations

import json
import logging
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tuner.bases.clip import CHUNK, ClipModel, check_clip
from tuner.bases.minilm import sha256
from tuner.errors import BaseModelError

CPU = torch.device("cpu")
WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
TEXTS = ["a red dress", "", "blue boots on a wooden floor " * 9, "綠色的帽子"]
MODEL = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic", "resize_mode": "shortest"}


def pictures(count: int = 3, seed: int = 0) -> list[np.ndarray]:
    """Wide, high, square, smaller and larger than the model's 32 x 32."""
    draw = np.random.default_rng(seed)
    sizes = [(64, 40), (20, 48), (33, 33)]
    return [draw.integers(256, size=(*sizes[number % 3], 3), dtype=np.uint8) for number in range(count)]


def make_clip(folder: Path, preprocess: dict[str, Any] = PREPROCESS, **text: Any) -> Path:
    """A random model with a scale of 20; `text` adds to its text_cfg."""
    folder.mkdir()
    cfg = MODEL | {"text_cfg": MODEL["text_cfg"] | text}
    write(folder / CONFIG, {"model_cfg": cfg, "preprocess_cfg": preprocess})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        own = {key: value for key, value in text.items() if key in ("context_length", "vocab_size")}
        model = open_clip.CLIP(12, dict(MODEL["vision_cfg"]), MODEL["text_cfg"] | own)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(20))
    save_file(model.state_dict(), folder / WEIGHTS)
    return folder


def add_tokenizer(folder: Path, auto_map: dict[str, list[str]] | None = None) -> None:
    """Whole words; the end of a text has the highest number, where open_clip looks for it."""
    words = ["<pad>", "<unk>", "<s>", "a", "red", "blue", "dress", "boots", "on", "wooden", "floor", "</s>"]
    ids = {word: number for number, word in enumerate(words)}
    reader = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    reader.pre_tokenizer = pre_tokenizers.Whitespace()
    reader.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", ids["<s>"]), ("</s>", ids["</s>"])]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=reader, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    if auto_map:
        path = folder / "tokenizer_config.json"
        write(path, json.loads(path.read_text()) | {"auto_map": auto_map, "tokenizer_class": "Own"})


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "plain")


@pytest.fixture
def copied(plain: Path, tmp_path: Path) -> Path:
    """A model to be spoiled."""
    return Path(shutil.copytree(plain, tmp_path / "copied"))


def theirs(folder: Path, texts: list[str] = TEXTS) -> tuple[torch.Tensor, torch.Tensor]:
    """What open_clip makes of the pictures and the texts, one at a time."""
    model, prepare = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    model.eval()
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        seen = [model.encode_image(prepare(Image.fromarray(each))[None], normalize=True) for each in pictures()]
        return torch.cat(seen), torch.cat([model.encode_text(tokenize([each]), normalize=True) for each in texts])


def refused(name: str | Path, call: Callable[[str], object] = check_clip) -> str:
    with pytest.raises(BaseModelError) as caught:
        call(str(name))
    said = str(caught.value)
    assert said.startswith(f"clip_model = {str(name)!r}: ")
    assert said.endswith(".")
    assert "\n" not in said
    return said


def opened(name: str) -> ClipModel:
    return ClipModel.open(name, CPU)


@pytest.mark.parametrize(
    "preprocess",
    [
        PREPROCESS,
        PREPROCESS | {"interpolation": "bilinear", "resize_mode": "squash"},
        PREPROCESS | {"resize_mode": "longest"},
        {},  # OpenAI's
    ],
    ids=["shortest", "squash", "longest", "default"],
)
def test_the_same_embeddings_as_open_clip(tmp_path: Path, preprocess: dict[str, Any]) -> None:
    folder = make_clip(tmp_path / "clip", preprocess)
    check_clip(str(folder))
    clip = opened(str(folder))
    seen, read = theirs(folder)
    torch.testing.assert_close(clip.images(pictures()), seen, rtol=0, atol=1e-5)
    torch.testing.assert_close(clip.texts(TEXTS), read, rtol=0, atol=1e-5)
    for found in (clip.images(pictures()), clip.texts(TEXTS)):
        assert (found.dtype, found.device, found.shape[1]) == (torch.float32, CPU, clip.width)
        assert not found.requires_grad
        torch.testing.assert_close(found.norm(dim=1), torch.ones(len(found)))


def test_what_is_known_of_an_opened_model(plain: Path) -> None:
    clip = opened(str(plain))
    assert (clip.name, clip.source, clip.width) == (str(plain), str(plain), 12)
    assert clip.checksum == sha256(plain / WEIGHTS)
    assert clip.scale == pytest.approx(20, rel=1e-5)
    with pytest.raises(FrozenInstanceError):
        clip.scale = 1.0  # type: ignore[misc]


def test_a_tokenizer_beside_the_weights(tmp_path: Path) -> None:
    folder = make_clip(tmp_path / "clip", hf_tokenizer_name="tokenizer", vocab_size=12, context_length=10)
    add_tokenizer(folder)
    texts = ["a red dress", "blue boots on a wooden floor " * 4]
    torch.testing.assert_close(opened(str(folder)).texts(texts), theirs(folder, texts)[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_chunks_keep_the_order(plain: Path, count: int) -> None:
    clip = opened(str(plain))
    given = pictures(count)
    found = clip.images(given)
    assert found.shape == (count, 12)
    texts = [f"dress {number}" for number in range(count)]
    assert clip.texts(texts).shape == (count, 12)
    for number in {0, count - 1} if count else ():
        torch.testing.assert_close(found[number : number + 1], clip.images([given[number]]), rtol=0, atol=1e-5)
        torch.testing.assert_close(clip.texts(texts)[number], clip.texts([texts[number]])[0], rtol=0, atol=1e-5)


def test_no_more_than_a_chunk_at_a_time(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = opened(str(plain))
    sizes = []
    encode = clip._model.encode_image

    def counted(x: torch.Tensor, **options: Any) -> torch.Tensor:
        sizes.append(len(x))
        found: torch.Tensor = encode(x, **options)
        return found

    monkeypatch.setattr(clip._model, "encode_image", counted)
    clip.images(pictures(2 * CHUNK + 3))
    assert sizes == [CHUNK, CHUNK, 3]


def test_half_precision_weights_are_read_as_fp32(copied: Path) -> None:
    before = opened(str(copied)).texts(TEXTS)
    save_file({name: value.half() for name, value in load_file(copied / WEIGHTS).items()}, copied / WEIGHTS)
    after = opened(str(copied)).texts(TEXTS)
    assert after.dtype == torch.float32
    torch.testing.assert_close(after, before, rtol=0, atol=1e-2)


def test_opening_says_nothing_and_leaves_the_process_as_it_was(plain: Path) -> None:
    """In a process of its own, whose root logger nothing has touched."""
    program = (
        "import logging, sys, torch\n"
        "from tuner.bases.clip import ClipModel\n"
        "torch.manual_seed(3)\n"
        "before = torch.get_rng_state()\n"
        "clip = ClipModel.open(sys.argv[1], torch.device('cpu'))\n"
        "assert clip.texts(['a red dress']).shape == (1, 12)\n"
        "root = logging.getLogger()\n"
        "assert (root.handlers, root.filters) == ([], [])\n"
        "assert torch.equal(torch.get_rng_state(), before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(plain)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_root_logger_hears_others_but_not_open_clip(plain: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        opened(str(plain))
        logging.getLogger("tuner").info("heard")
    assert [record.getMessage() for record in caplog.records if record.name in ("root", "tuner")] == ["heard"]


def test_the_check_is_light(plain: Path) -> None:
    program = (
        "import sys\n"
        "from tuner.bases.clip import check_clip\n"
        "check_clip(sys.argv[1])\n"
        "print([name for name in ('torch', 'open_clip', 'transformers', 'PIL') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(plain)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_embedded_model(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.bases.garment_clip.locate", lambda: plain, raising=False)
    check_clip("garment_clip")
    clip = opened("garment_clip")
    assert (clip.name, clip.source) == ("garment_clip", str(plain))


@pytest.mark.parametrize("name", ["ViT-B-32", "org/name", "/no/such/folder", "hf-hub:", "hf-hub:a/b/c", "hf-hub:../x"])
def test_unknown_names(name: str) -> None:
    said = refused(name)
    assert "neither garment_clip, nor a folder, nor a model on the hub" in said
    assert "hf-hub:org/name" in said
    assert refused(name, opened) == said


def test_a_file_is_no_folder(plain: Path) -> None:
    assert "neither" in refused(plain / WEIGHTS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("", "Expecting value"),
        ("[" * 100_000, ""),
        ("\ud800", "codec"),
        ("[]", "lacks model_cfg"),
        ("{}", "lacks model_cfg"),
        ('{"model_cfg": {"embed_dim": 12, "vision_cfg": {}}}', "lacks model_cfg"),
        ('{"model_cfg": {"embed_dim": 12, "vision_cfg": {}, "text_cfg": 3}}', "no objects"),
        ('{"model_cfg": {"embed_dim": "12", "vision_cfg": {}, "text_cfg": {}}}', "no whole number"),
    ],
)
def test_a_config_that_cannot_be_read(copied: Path, content: str | None, reason: str) -> None:
    (copied / CONFIG).unlink()
    if content is not None:
        (copied / CONFIG).write_bytes(content.encode("utf-8", "surrogatepass"))
    said = refused(copied)
    assert f"{CONFIG} cannot be read (" in said
    assert reason in said
    assert "that open_clip wrote" in said


def test_no_weights(copied: Path) -> None:
    (copied / WEIGHTS).unlink()
    said = refused(copied)
    assert f"holds no {WEIGHTS}" in said
    assert "safetensors.torch.save_file" in said
    assert refused(copied, opened) == said


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "model.pt", "epoch_9.pth", "weights.ckpt"])
def test_pickled_weights_are_refused(copied: Path, name: str) -> None:
    (copied / WEIGHTS).unlink()
    torch.save({}, copied / name)
    said = refused(copied, opened)
    assert f"pickled ({name})" in said
    assert "never opened" in said


def test_safetensors_are_opened_where_a_pickle_lies_beside_them(copied: Path) -> None:
    (copied / "open_clip_pytorch_model.bin").write_bytes(b"cos\nabort\n(tR.")  # would end the process
    (copied / WEIGHTS).rename(copied / "open_clip_pytorch_model.safetensors")
    assert opened(str(copied)).checksum == sha256(copied / "open_clip_pytorch_model.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0garbage", b"version https://git-lfs.github.com/spec/v1"])
@pytest.mark.parametrize("call", [check_clip, opened])
def test_damaged_weights(copied: Path, content: bytes, call: Callable[[str], object]) -> None:
    (copied / WEIGHTS).write_bytes(content)
    said = refused(copied, call)
    assert "is damaged" in said
    assert "Fetch or save it again" in said


def test_cut_weights(copied: Path) -> None:
    (copied / WEIGHTS).write_bytes((copied / WEIGHTS).read_bytes()[:-4])
    assert "is damaged" in refused(copied)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda tensors: tensors.pop("visual.proj"), "visual.proj"),
        (lambda tensors: tensors.update(more=torch.zeros(1)), "more"),
        (lambda tensors: tensors.update({"visual.proj": torch.zeros(2, 2)}), "visual.proj"),
        (lambda tensors: tensors.clear(), ""),
    ],
    ids=["missing", "unexpected", "shape", "empty"],
)
def test_weights_of_another_model(copied: Path, spoil: Callable[[dict[str, torch.Tensor]], None], reason: str) -> None:
    tensors = load_file(copied / WEIGHTS)
    spoil(tensors)
    save_file(tensors, copied / WEIGHTS)
    check_clip(str(copied))  # the header alone is sound
    said = refused(copied, opened)
    assert "cannot be opened: " in said
    assert reason in said
    assert f"Check that {CONFIG} and {WEIGHTS} are of one model" in said


def test_a_config_that_open_clip_refuses(copied: Path) -> None:
    cfg = json.loads((copied / CONFIG).read_text())
    cfg["model_cfg"]["vision_cfg"] = {"image_size": 32, "no_such_setting": 1}
    write(copied / CONFIG, cfg)
    assert "no_such_setting" in refused(copied, opened)


def test_a_tokenizer_that_is_missing(tmp_path: Path) -> None:
    folder = make_clip(tmp_path / "clip", hf_tokenizer_name="tokenizer")
    assert "cannot be opened" in refused(folder, opened)


def test_no_code_of_a_model_runs(tmp_path: Path) -> None:
    """Not even where its config asks for it."""
    folder = make_clip(
        tmp_path / "clip", hf_tokenizer_name="tokenizer", vocab_size=12, tokenizer_kwargs={"trust_remote_code": True}
    )
    add_tokenizer(folder, auto_map={"AutoTokenizer": ["own.Own", "own.Own"]})
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own:\n    pass\n")
    refused(folder, opened)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("call", [check_clip, opened])
def test_the_package_is_missing(plain: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[str], object]) -> None:
    monkeypatch.setattr("tuner.bases.clip_files.PACKAGE", "no_such_package")
    said = refused(plain, call)
    assert "open_clip is not installed" in said
    assert "pip install open_clip_torch" in said
