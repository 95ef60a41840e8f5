"""Models in memory: loaded once, within a budget, let go when idle."""

import threading
import time

import pytest

from made_up import made_up_model
from serving import wait_until
from viska.errors import ModelError
from viska.server.models import ModelStore

SIZE_MB = sum(weights.numel() * weights.element_size() for weights in made_up_model().parameters()) / 1e6


class Loads:
    """Loads made-up models, and remembers which."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str):
        self.names.append(name)
        time.sleep(0.05)
        return made_up_model()


@pytest.fixture
def load() -> Loads:
    return Loads()


def test_names_and_aliases(load):
    store = ModelStore(["a", "org/b"], load, aliases={"whisper-1": "a"})
    assert [store.resolve(name) for name in ("a", "org/b", "whisper-1", "c")] == ["a", "org/b", "a", None]
    assert load.names == []


def test_a_model_is_loaded_once_for_many_users_at_once(load):
    store = ModelStore(["a"], load)
    seen = []

    def use():
        with store.use("a") as model:
            seen.append(model)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load.names == ["a"]
    assert len({id(model) for model in seen}) == 1
    assert store.loaded() == {"a": pytest.approx(SIZE_MB * 1e6)}


def test_within_the_budget_what_was_not_used_for_longest_goes_first(load):
    store = ModelStore(["a", "b", "c"], load, budget_mb=2.5 * SIZE_MB)
    for name in ("a", "b", "a", "c"):
        with store.use(name):
            pass
    assert set(store.loaded()) == {"a", "c"}
    assert load.names == ["a", "b", "c"]


def test_what_is_in_use_stays_and_others_wait_for_the_room(load):
    store = ModelStore(["a", "b"], load, budget_mb=1.5 * SIZE_MB)
    done = threading.Event()

    def use_b():
        with store.use("b"):
            done.set()

    with store.use("a"):
        thread = threading.Thread(target=use_b)
        thread.start()
        wait_until(lambda: "b" in load.names)
        assert not done.wait(0.2)
        assert set(store.loaded()) == {"a"}
    assert done.wait(5)
    thread.join()
    assert set(store.loaded()) == {"b"}


def test_a_model_beyond_the_budget_is_refused(load):
    store = ModelStore(["a"], load, budget_mb=SIZE_MB / 2)
    with pytest.raises(ModelError, match="more than the memory budget"), store.use("a"):
        pass


def test_idle_models_are_let_go_and_come_again(load):
    store = ModelStore(["a", "b"], load, unload_after_s=0.1)
    with store.use("a"):
        with store.use("b"):
            pass
        time.sleep(0.15)
        store.unload_idle()
        assert set(store.loaded()) == {"a"}
    store.unload_idle()
    assert set(store.loaded()) == {"a"}
    time.sleep(0.15)
    store.unload_idle()
    assert store.loaded() == {}
    with store.use("a"):
        assert load.names == ["a", "b", "a"]


def test_without_a_time_nothing_is_let_go(load):
    store = ModelStore(["a"], load)
    with store.use("a"):
        pass
    store.unload_idle()
    assert set(store.loaded()) == {"a"}


def test_what_cannot_be_loaded_is_told_and_tried_again():
    answers = [ModelError("not now"), made_up_model()]

    def load(name):
        answer = answers.pop(0)
        if isinstance(answer, ModelError):
            raise answer
        return answer

    store = ModelStore(["a"], load)
    with pytest.raises(ModelError, match="not now"), store.use("a"):
        pass
    with store.use("a"):
        pass
