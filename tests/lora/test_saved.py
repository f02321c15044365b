"""Adapters' folders as PEFT itself writes them, read and answering as PEFT's own model does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from tests.engine import toy
from tuner.bases.describe import describe
from tuner.bases.load import load_classifier
from tuner.errors import StoreError
from tuner.lora.encoder import RaggedEncoder
from tuner.lora.layouts import layout_of, lora_modules
from tuner.lora.packed import PackContext, wrap_linears
from tuner.lora.parameters import Site
from tuner.lora.ragged import Ragged
from tuner.lora.saved import CONFIG, WEIGHTS, read_peft
from tuner.lora.table import AdapterTable

# PEFT asks transformers for a name that it will drop
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
CPU = torch.device("cpu")
IDS = torch.tensor([2, 10, 30, 50, 70, 3])
COMMON: dict[str, Any] = {
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["query", "value"],
    "modules_to_save": ["classifier"],
}


class World:
    """A toy base that answers for adapters in a table."""

    def __init__(self, kind: str, base: Path) -> None:
        model: Any = load_classifier(describe(str(base)), 2)
        layout = layout_of(kind)
        heads = [name for name, _ in layout.head if name.partition(".")[0] in layout.trained]
        self.context = PackContext(CPU)
        self.sites: list[Site] = wrap_linears(model, lora_modules(layout, 2), heads, self.context)
        self.encoder = RaggedEncoder(model.eval())

    def logits(self, folder: Path) -> torch.Tensor:
        """What the adapter in a folder answers."""
        table = AdapterTable(self.sites, CPU, 10**9)
        resident = table.put("a", read_peft(folder, self.sites, {}))
        pack = table.pack([resident], torch.float32)
        pack.bring([1], [len(IDS)])
        self.context.pack = pack
        with torch.inference_mode():
            hidden = self.encoder.hidden(IDS, Ragged([len(IDS)], CPU), first_only=True)
            return self.encoder.logits(hidden)[0]


def saved(base: Path, folder: Path, far: float = 0.4, **options: Any) -> torch.Tensor:
    """Let PEFT save an adapter far from its start, and say what it answers."""
    torch.manual_seed(1)
    options = {**COMMON, **options}
    model = get_peft_model(load_classifier(describe(str(base)), 2), LoraConfig(task_type="SEQ_CLS", **options))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "magnitude" not in name:
            torch.nn.init.normal_(parameter, std=far)
    model.eval().save_pretrained(folder)
    with torch.no_grad():
        found: torch.Tensor = model(IDS[None]).logits[0]
    return found


def told(folder: Path, **changes: Any) -> None:
    """Change an adapter's config."""
    path = folder / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def reweigh(folder: Path, change: Any) -> None:
    """Change an adapter's tensors."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


@pytest.fixture(scope="module")
def worlds(toy_bases: dict[str, Path]) -> dict[str, World]:
    return {kind: World(kind, base) for kind, base in toy_bases.items()}


@pytest.fixture
def bert(worlds: dict[str, World]) -> World:
    return worlds["bert"]


@pytest.mark.parametrize("kind", toy.KINDS)
def test_every_layout(worlds: dict[str, World], toy_bases: dict[str, Path], tmp_path: Path, kind: str) -> None:
    trained = list(layout_of(kind).trained)
    for number, targets in enumerate((toy.TARGETS[kind], toy.EVERYWHERE[kind])):
        folder = tmp_path / str(number)
        expected = saved(toy_bases[kind], folder, target_modules=targets, modules_to_save=trained)
        torch.testing.assert_close(worlds[kind].logits(folder), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"r": 1}, {"lora_alpha": 0.7}, {"r": 13, "lora_alpha": 1},
        {"target_modules": r".*\.attention\.self\.(query|key)"}, {"target_modules": ["encoder.layer.1.output.dense"]},
        {"target_modules": ["bert.encoder.layer.0.attention.self.key"]},
        {"target_modules": ["query", "classifier.nothing"]}, {"layers_to_transform": [0]}, {"layers_to_transform": 0},
        {"exclude_modules": ["layer.1.attention.self.query"]}, {"init_lora_weights": "gaussian"},
        {"init_lora_weights": False}, {"lora_dropout": 0.3}, {"target_modules": ["intermediate.dense", "key"]},
    ],
    ids=str,
)  # fmt: skip
def test_forms_of_peft(bert: World, toy_bases: dict[str, Path], tmp_path: Path, options: dict[str, Any]) -> None:
    expected = saved(toy_bases["bert"], tmp_path, **options)
    torch.testing.assert_close(bert.logits(tmp_path), expected, rtol=0, atol=1e-5)


def test_what_was_read(bert: World, toy_bases: dict[str, Path], tmp_path: Path) -> None:
    saved(toy_bases["bert"], tmp_path, r=3, lora_alpha=5)
    details = {"labels": ["a", "b"]}
    opened = read_peft(tmp_path, bert.sites, details)
    assert (opened.shape.rank, opened.scale, opened.details) == (3, 5 / 3, details)
    assert opened.shape.full == {"classifier"}
    assert opened.shape.targets == {
        f"bert.encoder.layer.{layer}.attention.self.{part}" for layer in (0, 1) for part in ("query", "value")
    }
    assert {value.dtype for value in opened.tensors.values()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(bert: World, toy_bases: dict[str, Path], tmp_path: Path, dtype: torch.dtype) -> None:
    expected = saved(toy_bases["bert"], tmp_path)
    reweigh(tmp_path, lambda tensors: tensors.update({name: value.to(dtype) for name, value in tensors.items()}))
    opened = read_peft(tmp_path, bert.sites, {})
    assert {value.dtype for value in opened.tensors.values()} == {torch.float32}
    torch.testing.assert_close(bert.logits(tmp_path), expected, rtol=0, atol=0.1)


def test_a_head_under_pefts_inner_name(bert: World, toy_bases: dict[str, Path], tmp_path: Path) -> None:
    expected = saved(toy_bases["bert"], tmp_path)

    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for part in ("weight", "bias"):
            value = tensors.pop(f"base_model.model.classifier.{part}")
            tensors[f"base_model.model.classifier.modules_to_save.default.{part}"] = value

    reweigh(tmp_path, rename)
    torch.testing.assert_close(bert.logits(tmp_path), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"use_dora": True}, {"use_rslora": True}, {"rank_pattern": {"query": 2}}, {"alpha_pattern": {"value": 1}},
        {"bias": "lora_only"}, {"bias": "all"}, {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_computed_otherwise_is_refused_by_name(
    bert: World, toy_bases: dict[str, Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    saved(toy_bases["bert"], tmp_path, **options)
    with pytest.raises(StoreError, match=rf"it is no plain LoRA \({next(iter(options))}\)"):
        read_peft(tmp_path, bert.sites, {})


QUERY = "base_model.model.bert.encoder.layer.1.attention.self.query"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(f"{QUERY}.lora_B.weight"), r"incomplete: .*query\.B is not in it"),
        (lambda t: [t.pop(f"{QUERY}.lora_{half}.weight") for half in "AB"], r"incomplete: .*query\.A is not in it"),
        (lambda t: t.pop("base_model.model.classifier.weight"), r"incomplete: classifier\.weight is not in it"),
        (lambda t: t.pop("base_model.model.classifier.bias"), r"incomplete: classifier\.bias is not in it"),
        (lambda t: t.clear(), "incomplete"),
        (lambda t: t.update({f"{QUERY}.weight": torch.zeros(16, 16)}), r"which trains no .*query\.weight"),
        (lambda t: t.update({"base_model.model.pooler.weight": torch.zeros(1)}), r"which has no pooler"),
        (lambda t: t.update({f"{QUERY}.lora_magnitude_vector": torch.zeros(16)}), "is no tensor of a LoRA"),
        (lambda t: t.update({"classifier.weight": torch.zeros(2, 16)}), "is no tensor of a LoRA"),
        (
            lambda t: t.update({"base_model.model.classifier.modules_to_save.default.bias": torch.zeros(2)}),
            "is there twice",
        ),
        (lambda t: t.update({f"{QUERY}.lora_A.weight": torch.zeros(4, 16, dtype=torch.int8)}), "is no numbers"),
        (lambda t: t[f"{QUERY}.lora_A.weight"][1].fill_(torch.nan), "holds numbers that are not finite"),
        (
            lambda t: t.update({f"{QUERY}.lora_A.weight": torch.full((4, 16), 1e300, dtype=torch.float64)}),
            "holds numbers that are not finite",
        ),
        (lambda t: t.update({f"{QUERY}.lora_A.weight": torch.zeros(4, 17)}), r"has the sizes \(4, 17\), and \(4, 16\)"),
        (lambda t: t.update({f"{QUERY}.lora_A.weight": torch.zeros(())}), r"has the sizes \(\)"),
        (lambda t: t.update({"base_model.model.classifier.bias": torch.zeros(3)}), r"has the sizes \(3,\)"),
    ],
)
def test_tensors_that_do_not_fit(
    bert: World, toy_bases: dict[str, Path], tmp_path: Path, change: Any, said: str
) -> None:
    saved(toy_bases["bert"], tmp_path)
    reweigh(tmp_path, change)
    with pytest.raises(StoreError, match=said) as caught:
        read_peft(tmp_path, bert.sites, {})
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"r": 8}, r"has the sizes \(4, 16\), and \(8, 16\) fit"), ({"r": 0}, "its rank is 0"),
        ({"r": "4"}, "its rank is '4'"), ({"lora_bias": True}, r"no plain LoRA \(lora_bias\)"),
        ({"r": 4.5}, "its rank is 4.5"), ({"r": None}, "its rank is None"), ({"r": True}, "its rank is True"),
        ({"r": 10**30}, "has the sizes"), ({"lora_alpha": float("nan")}, "its alpha is nan"),
        ({"lora_alpha": float("inf")}, "its alpha is inf"), ({"lora_alpha": 10**400}, "its alpha is 1000"),
        ({"lora_alpha": [8]}, "its alpha is"), ({"lora_alpha": None}, "its alpha is None"),
        ({"peft_type": "LOHA"}, "not that of a LoRA"), ({"peft_type": None}, "not that of a LoRA"),
        ({"target_modules": ["query", "value", "key"]}, r"incomplete: .*key\.A"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"init_lora_weights": ["gaussian"]}, "init_lora_weights"),
    ],
    ids=str,
)  # fmt: skip
def test_configs_that_make_no_sense(
    bert: World, toy_bases: dict[str, Path], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    saved(toy_bases["bert"], tmp_path)
    told(tmp_path, **changes)
    with pytest.raises(StoreError, match=said):
        read_peft(tmp_path, bert.sites, {})


@pytest.mark.parametrize("text", ["", "[]", "null", "4", '"LORA"', "{", "[" * 10_000, "\ud800"])
def test_configs_that_are_none(bert: World, toy_bases: dict[str, Path], tmp_path: Path, text: str) -> None:
    saved(toy_bases["bert"], tmp_path)
    (tmp_path / CONFIG).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(StoreError, match="is not a saved adapter"):
        read_peft(tmp_path, bert.sites, {})


def test_nothing_is_unpickled(bert: World, toy_bases: dict[str, Path], tmp_path: Path) -> None:
    """PEFT itself would fall back to adapter_model.bin."""
    saved(toy_bases["bert"], tmp_path)
    torch.save(load_file(tmp_path / WEIGHTS), tmp_path / "adapter_model.bin")
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(StoreError, match="is not a saved adapter"):
        read_peft(tmp_path, bert.sites, {})


def test_an_adapter_of_another_layout(worlds: dict[str, World], toy_bases: dict[str, Path], tmp_path: Path) -> None:
    saved(toy_bases["bert"], tmp_path)
    for kind in ("roberta", "distilbert", "albert"):
        with pytest.raises(StoreError, match="does not fit its base, which has no bert"):
            read_peft(tmp_path, worlds[kind].sites, {})
