"""The serve_gpu benchmark runs on any device in its small form, and without a GPU says so."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks import serve_gpu
from tests.conftest import accelerator_missing

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.mark.slow
def test_the_quick_form_answers_alike_alone_and_in_company(capsys: pytest.CaptureFixture[str]) -> None:
    serve_gpu.main(["--quick"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["quick"] is True
    assert found["same_answers"] > 0.5, "rounding in bf16 may choose another word now and then"
    assert {f"{side}_tokens_per_second" for side in serve_gpu.SIDES} <= found.keys()


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if accelerator_missing() is None:
        pytest.skip("this machine has one")
    with pytest.raises(SystemExit) as ended:
        serve_gpu.main([])
    assert ended.value.code == 2
    assert "needs a CUDA or MPS device" in capsys.readouterr().err
