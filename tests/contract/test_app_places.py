"""What else of an app runs where its instances run: from the same build, with the same variables but no address."""

from pathlib import Path

from reconciler.serving.build_users import Use
from tests.contract.machine import a_life, on_the_loop
from tests.support.site import Site


@on_the_loop
async def test_a_place_is_that_of_the_revision_that_serves_or_served_last(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app(env={"COLOUR": "blue"})
        assert machine.host.places.revision("blog") is None
        await machine.started(app)
        revision = machine.host.places.revision("blog")
        assert revision is not None
        assert revision.id == machine.only().revision
        place = machine.host.places.of(revision)
        variables = place.environment(machine.instances.new_identity())
        assert variables["COLOUR"] == "blue"
        assert variables["HOME"] == str(site.paths.home("blog"))
        assert variables.keys().isdisjoint({"PORT", "VCAP_APP_PORT", "CF_INSTANCE_PORT"})
        assert (
            place.environment(machine.instances.new_identity(), listens=True)["PORT"]
            == str(revision.address).rpartition(":")[2]
        )
        assert Path(place.code.directory).is_dir()
        assert place.logs == site.paths.logs / "blog"
        await machine.instances.stop("blog", machine.only().id)
        assert machine.host.places.revision("blog") == revision
    with a_life(site) as later:
        found = later.host.places.revision("blog")
        assert found is not None
        assert found.id == revision.id


@on_the_loop
async def test_what_runs_beside_the_instances_keeps_its_build_and_the_files_of_its_revision(site: Site) -> None:
    with a_life(site) as machine:
        instance = await machine.started(machine.app())
        uses = {Use(instance.revision, instance.build)}
        machine.instances.users.add(lambda app: uses if app == "blog" else ())
        files = machine.host.paths("blog").revisions
        await machine.instances.stop("blog", instance.id)
        machine.instances.remove_unused("blog", machine.host.paths("blog"))
        assert machine.seen().builds_in_use == {instance.build}
        assert [each.name for each in files.iterdir()] == [instance.revision]
        uses.clear()
        machine.instances.remove_unused("blog", machine.host.paths("blog"))
        assert machine.seen().builds_in_use == frozenset()
        assert list(files.glob("[!.]*")) == []
