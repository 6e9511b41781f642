"""Where the control groups of apps are made, by what a host has and allows."""

from reconciler.planning.isolation.layout import NOT_DELEGATED, NOT_MOUNTED, READ_ONLY, Place, layout

UNIFIED = Place(version=2, path="/sys/fs/cgroup", writable=True)
WHOLE = Place(version=2, path="/sys/fs/cgroup", controllers=frozenset({"memory", "pids", "cpu", "io"}), writable=True)
V1 = tuple(
    Place(version=1, path=f"/sys/fs/cgroup/{name}", controllers=frozenset({name}), writable=True)
    for name in ("memory", "pids", "cpu", "freezer")
)


def test_version_2_with_its_controllers_does_everything() -> None:
    chosen = layout([WHOLE], systemd=False)
    assert (chosen.ending, set(chosen.limiting), chosen.lacks) == (WHOLE, {"memory", "pids", "cpu"}, "")


def test_an_empty_version_2_ends_apps_and_version_1_limits_them() -> None:
    chosen = layout([*V1, UNIFIED], systemd=False)
    assert chosen.ending == UNIFIED
    assert {name: place.path for name, place in chosen.limiting.items()} == {
        name: f"/sys/fs/cgroup/{name}" for name in ("memory", "pids", "cpu")
    }


def test_without_version_2_the_freezer_ends_apps() -> None:
    chosen = layout(V1, systemd=False)
    assert chosen.ending is not None
    assert chosen.ending.controllers == {"freezer"}


def test_without_controllers_it_says_which_are_missing() -> None:
    chosen = layout([UNIFIED], systemd=False)
    assert chosen.ending == UNIFIED
    assert chosen.lacks == "the kernel gives the control group of the daemon no controllers for memory, pids, cpu"


def test_what_systemd_has_not_delegated_is_left_alone() -> None:
    assert layout([WHOLE], systemd=True).lacks == NOT_DELEGATED
    assert layout([WHOLE], systemd=True).ending is None
    delegated = Place(version=2, path="/sys/fs/cgroup/system.slice/reconciler.service", writable=True, delegated=True)
    assert layout([delegated], systemd=True).ending == delegated


def test_what_cannot_be_written_to_is_not_used_and_it_says_so() -> None:
    read_only = Place(version=2, path="/sys/fs/cgroup", controllers=frozenset({"memory"}))
    assert layout([read_only], systemd=False).lacks == READ_ONLY
    assert layout([], systemd=False).lacks == NOT_MOUNTED
    assert layout([read_only, *V1], systemd=False).limiting["memory"] == V1[0]


def test_a_controller_of_version_2_is_preferred() -> None:
    assert layout([*V1, WHOLE], systemd=False).limiting["memory"] == WHOLE
    assert layout([WHOLE, *V1], systemd=False).limiting["memory"] == WHOLE
