"""Changes of aliases against a model that knows no more than lists, step by step."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.registry.toys import NAME
from tuner.errors import ConfigError
from tuner.registry import AdapterName, Alias, Entry, Reference, RegistryState, Target
from tuner.registry.changes import HISTORY, with_alias, with_rollback, with_version, without_alias, without_version
from tuner.registry.state_json import state_from_json, state_to_json

VERSIONS = [f"{number:x}" * 12 for number in range(4)]
ALIASES = ["champion", "canary"]


def entry(version: str, rest: str = "0", name: AdapterName = NAME) -> Entry:
    return Entry(name, version, version + rest * 52, 5.0, "test")


def filled(*versions: str) -> RegistryState:
    state = RegistryState()
    for version in versions or VERSIONS:
        state = with_version(state, entry(version))
    return state


def point(state: RegistryState, version: str, alias: str = "champion", when: float = 1.0) -> RegistryState:
    return with_alias(state, NAME, alias, Target.of({version: 1}), when, "test", "")


def back(state: RegistryState, alias: str = "champion") -> RegistryState:
    return with_rollback(state, NAME, alias, 2.0, "test", "")


def at(state: RegistryState, alias: str = "champion") -> Target | None:
    found = state.adapter(NAME).alias(alias)
    return found.target if found else None


class Aliases(RuleBasedStateMachine):
    """The model: of each alias a stack of what undo would bring back, and what it points to."""

    def __init__(self) -> None:
        super().__init__()
        self.state = filled()
        self.versions = set(VERSIONS)
        self.now: dict[str, Target | None] = {}
        self.past: dict[str, list[Target]] = {alias: [] for alias in ALIASES}

    @property
    def used(self) -> set[str]:
        return {version for target in self.now.values() if target for version in target.versions}

    def move(self, alias: str, target: Target | None) -> None:
        before = self.now.get(alias)
        if before is not None:
            self.past[alias].append(before)
        self.now[alias] = target

    @rule(alias=st.sampled_from(ALIASES), split=st.lists(st.sampled_from(VERSIONS), min_size=1, max_size=2))
    def set(self, alias: str, split: list[str]) -> None:
        target = Target.of(dict.fromkeys(split, 1.0))
        if not target.versions <= self.versions:
            with pytest.raises(ConfigError, match="no such"):
                with_alias(self.state, NAME, alias, target, 1.0, "test", "")
            return
        after = with_alias(self.state, NAME, alias, target, 1.0, "test", "")
        if self.now.get(alias) == target:
            assert after is self.state
        else:
            self.move(alias, target)
        self.state = after

    @rule(alias=st.sampled_from(ALIASES))
    def remove(self, alias: str) -> None:
        if NAME not in self.state.adapters or self.now.get(alias) is None:
            with pytest.raises(ConfigError, match="no such"):
                without_alias(self.state, NAME, alias, 1.0, "test", "")
            return
        self.state = without_alias(self.state, NAME, alias, 1.0, "test", "")
        self.move(alias, None)

    @rule(alias=st.sampled_from(ALIASES))
    def rollback(self, alias: str) -> None:
        stack = list(self.past[alias])
        current = self.now.get(alias)
        while stack and (stack[-1] == current or not stack[-1].versions <= self.versions):
            stack.pop()
        if not stack or NAME not in self.state.adapters:
            with pytest.raises(ConfigError):
                back(self.state, alias)
            return
        self.state = back(self.state, alias)
        self.now[alias] = stack.pop()
        self.past[alias] = stack

    @rule(version=st.sampled_from(VERSIONS))
    def delete(self, version: str) -> None:
        if version not in self.versions or version in self.used:
            with pytest.raises(ConfigError):
                without_version(self.state, NAME, version)
            return
        self.state = without_version(self.state, NAME, version)
        self.versions.remove(version)
        if not self.versions:
            self.past = {alias: [] for alias in ALIASES}
            self.now = {}

    @rule(version=st.sampled_from(VERSIONS))
    def add(self, version: str) -> None:
        after = with_version(self.state, entry(version))
        assert (after is self.state) == (version in self.versions)
        self.state = after
        self.versions.add(version)

    @invariant()
    def agree(self) -> None:
        if NAME in self.state.adapters:
            adapter = self.state.adapter(NAME)
            assert set(adapter.versions) == self.versions
            assert {name: alias.target for name, alias in adapter.aliases.items()} == {
                name: target for name, target in self.now.items() if target is not None
            }
            for name, alias in adapter.aliases.items():
                found = self.state.find(NAME.task, Reference(NAME.name, name))
                assert isinstance(found, Alias)
                assert found == alias
        else:
            assert not self.versions
        assert state_from_json(state_to_json(self.state)) == self.state


TestAliases = Aliases.TestCase
TestAliases.settings = settings(deadline=None, max_examples=80, stateful_step_count=30)


def test_again_goes_back_further() -> None:
    a, b, c, d = VERSIONS
    state = filled()
    for version in (a, b, c):
        state = point(state, version)
    state = back(state)
    assert at(state) == Target.of({b: 1})
    state = point(state, d)
    assert at(back(state)) == Target.of({b: 1}), "not to what was rolled back from"
    assert at(back(back(state))) == Target.of({a: 1})
    with pytest.raises(ConfigError, match="it pointed to nothing else before"):
        back(back(back(state)))
    last = back(back(state)).adapter(NAME).history["champion"][-1]
    assert (last.number, last.back_to) == (7, 1)


def test_a_rollback_passes_over_what_is_deleted() -> None:
    a, b, c, _ = VERSIONS
    state = filled(a, b, c)
    for version in (a, b, c):
        state = point(state, version)
    state = without_version(state, NAME, b)
    assert at(back(state)) == Target.of({a: 1})
    state = without_version(state, NAME, a)
    with pytest.raises(ConfigError, match="is deleted"):
        back(state)


def test_a_removed_alias_comes_back() -> None:
    state = without_alias(point(filled(), VERSIONS[0]), NAME, "champion", 1.0, "test", "")
    assert at(state) is None
    assert at(back(state)) == Target.of({VERSIONS[0]: 1})


def test_a_version_in_use_is_not_deleted() -> None:
    a, b, c, _ = VERSIONS
    state = with_alias(filled(), NAME, "canary", Target.of({a: 9, b: 1}, c), 1.0, "test", "")
    for version, how in ((a, "split"), (b, "split"), (c, "shadow")):
        with pytest.raises(ConfigError, match=rf"canary \({how}\)"):
            without_version(state, NAME, version)


def test_two_adapters_with_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="begin with the same 12 digits"):
        with_version(filled(), entry(VERSIONS[0], "1"))


def test_history_is_bounded_and_still_rolls_back() -> None:
    state = filled()
    for number in range(HISTORY + 50):
        state = point(state, VERSIONS[number % 3], when=float(number))
    changes = state.adapter(NAME).history["champion"]
    assert [change.number for change in changes] == list(range(51, HISTORY + 51))
    for _ in range(HISTORY // 2):  # each is a change itself and takes the place of an old one
        state = back(state)
    assert len(state.adapter(NAME).history["champion"]) == HISTORY
    assert state_from_json(state_to_json(state)) == state


def test_errors_name_the_nearest_first() -> None:
    state = filled()
    for name in ("reviewers", "shoes", *(f"other-{number}" for number in range(20))):
        state = with_version(state, entry(VERSIONS[0], name=AdapterName("sentiment", name)))
    with pytest.raises(
        ConfigError, match=r"no such adapter of the task sentiment. Known: reviews, reviewers, .* and 13 more"
    ):
        state.find("sentiment", Reference("review"))
    with pytest.raises(ConfigError, match="There is none yet"):
        state.find("fashion", Reference("reviews"))
    with pytest.raises(ConfigError, match=f"has no such version. Known: {VERSIONS[2]}"):
        state.find("sentiment", Reference("reviews", "2" * 11 + "3"))
    state = point(point(state, VERSIONS[0]), VERSIONS[0], "canary")
    with pytest.raises(ConfigError, match=r"has no such alias. Known: champion, canary"):
        state.find("sentiment", Reference("reviews", "champ"))
    assert state.find("sentiment", Reference("reviews", VERSIONS[1])) == entry(VERSIONS[1])
