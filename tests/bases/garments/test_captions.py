"""What is said of a look: its garment, its pattern and its colours, with the right article."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.bases.garments.captions import FORMS, MOTIFS, PLACES, caption
from tuner.bases.garments.look import BACKGROUNDS, ONE_COLOUR, PATTERNS, TEXTURES, Look
from tuner.bases.garments.sample import general, styled
from tuner.bases.garments.styles import STYLES

DRESS = Look("dress", "striped", "red", "white", "wooden floor")


@pytest.mark.parametrize(
    ("look", "form", "said"),
    [
        (DRESS, 0, "a red striped dress"),
        (DRESS, 1, "a red striped dress on a wooden floor"),
        (DRESS, 2, "a photo of a dress, red with white stripes, on a wooden floor"),
        (DRESS, 4, "a red dress with white stripes"),
        (replace(DRESS, pattern="plain"), 0, "a plain red dress"),
        (replace(DRESS, pattern="plain"), 2, "a photo of a dress, plain red, on a wooden floor"),
        (replace(DRESS, colour="orange"), 0, "an orange striped dress"),
        (replace(DRESS, garment="boots"), 0, "red striped boots"),
        (replace(DRESS, garment="trousers", pattern="plain"), 5, "a picture of a pair of plain red trousers"),
        (
            Look("dress", "lace", "blush", "white", "pink bokeh", "pastel romantic"),
            0,
            "a pastel romantic dress in blush with lace",
        ),
        (Look("shoes", "twill", "indigo", "orange", "light linen", "denim"), 1, "denim shoes"),
        (
            Look("hat", "twill", "indigo", "orange", "light linen", "denim"),
            5,
            "denim style: an indigo hat with orange stitching",
        ),
    ],
)
def test_wordings(look: Look, form: int, said: str) -> None:
    assert caption(look, form) == said


@given(seed=st.integers(0, 10_000), form=st.integers(0, FORMS - 1))
def test_a_caption_names_garment_pattern_and_colour_in_few_words(seed: int, form: int) -> None:
    look = general(seed, 1)[0]
    said = caption(look, form)
    assert look.garment in said
    assert look.colour in said
    assert len(said.split()) <= 24
    motif = MOTIFS[look.pattern].format(accent=look.accent)
    assert look.pattern in said or motif in said
    assert not said.startswith(("a trousers", "a boots", "a shoes", "a orange"))


@given(style=st.sampled_from(list(STYLES)), seed=st.integers(0, 10_000), form=st.integers(0, FORMS - 1))
def test_a_styled_caption_names_its_style(style: str, seed: int, form: int) -> None:
    look = styled(style, seed, 1)[0]
    said = caption(look, form)
    assert style in said
    assert look.garment in said
    assert len(said.split()) <= 24


def test_wordings_differ_and_looks_are_told_apart() -> None:
    assert len({caption(DRESS, form) for form in range(FORMS)}) == FORMS
    looks = general(4, 300)
    words = {(look.garment, look.pattern, look.colour) for look in looks}
    assert len({caption(look) for look in looks}) == len(words)
    assert len(words) > 200


def test_every_surface_and_every_background_has_its_words() -> None:
    assert set(MOTIFS) == {*PATTERNS, *TEXTURES}
    assert set(PLACES) == {*BACKGROUNDS, *(style.background for style in STYLES.values())}
    assert all("{accent}" not in MOTIFS[name] for name in ONE_COLOUR)


@pytest.mark.parametrize("form", [-1, FORMS])
def test_an_unknown_form_is_refused(form: int) -> None:
    with pytest.raises(ValueError, match=f"form = {form}: must be 0 to 7"):
        caption(DRESS, form)
