"""The merged catalog: sameness, the oldest wins, ports united, and nothing that is not for us."""

from __future__ import annotations

from discovery.model import LocalService, Port, Protocol, ServiceName, ZoneHealth
from federation.catalog import Catalog
from federation.freshness import Freshness
from federation.import_cap import ImportLimits
from federation.imports import ImportPolicy
from federation.service_view import ConflictReason
from federation.values import ExportValue

PAY = ServiceName("shop", "pay")
HTTP = Port("http", 80, Protocol.HTTP)
ZONES = (ZoneHealth("a", 1, 1),)


def export(created: float, *ports: Port, to: tuple[str, ...] = ("*",)) -> ExportValue:
    return ExportValue(ports or (HTTP,), to, created, ZONES)


def catalog(imports: dict[str, tuple[str, ...]] | None = None) -> Catalog:
    return Catalog("east", ImportPolicy(imports))


def local(*ports: Port, to: tuple[str, ...] = ()) -> LocalService:
    return LocalService(PAY, ports or (HTTP,), (), export_to=to)


def test_same_name_is_one_service() -> None:
    """Namespace sameness (KEP-1645); shares stand in order of age."""
    it = catalog()
    assert it.apply_export("west", PAY, export(20.0)) == {PAY}
    assert it.apply_export("eu", PAY, export(10.0)) == {PAY}
    view = it.services[PAY]
    assert [share.cluster for share in view.exports] == ["eu", "west"]
    assert view.ports == (HTTP,)
    assert view.conflicts == ()


def test_ports_are_united_and_each_cluster_has_its_own() -> None:
    """A port that only one cluster has belongs to the service; requests for it must not go to the others."""
    admin = Port("admin", 81, Protocol.HTTP)
    it = catalog()
    it.apply_export("west", PAY, export(10.0))
    it.apply_export("eu", PAY, export(20.0, HTTP, admin))
    view = it.services[PAY]
    assert view.ports == (HTTP, admin)
    assert [share.ports for share in view.exports] == [(HTTP,), (HTTP, admin)]


def test_the_oldest_wins_a_port_conflict() -> None:
    """Same number or same name with another meaning: the younger export loses that port, with the MCS reason."""
    it = catalog()
    it.apply_export("west", PAY, export(20.0, Port("http", 80, Protocol.TCP), Port("x", 90, Protocol.TCP)))
    it.apply_export("eu", PAY, export(10.0))
    it.apply_export("asia", PAY, export(30.0, Port("web", 80, Protocol.HTTP), Port("http", 8080, Protocol.HTTP)))
    view = it.services[PAY]
    assert view.ports == (HTTP, Port("x", 90, Protocol.TCP))
    assert [(c.cluster, c.reason) for c in view.conflicts] == [("west", "PortConflict")] + [
        ("asia", "PortConflict")
    ] * 2
    assert view.conflicts[0].reason is ConflictReason.PORT_CONFLICT
    assert "80/tcp" in view.conflicts[0].message
    assert [share.ports for share in view.exports] == [(HTTP,), (Port("x", 90, Protocol.TCP),), ()]


def test_only_what_is_for_us_and_let_in_counts() -> None:
    """The owner names consumers, we name imports: both must agree. A peer without patterns gives nothing then."""
    it = catalog({"west": ("shop/*",)})
    assert it.apply_export("west", PAY, export(1.0, to=("eu",))) == set()
    assert it.apply_export("west", ServiceName("web", "pay"), export(1.0)) == set()
    assert it.apply_export("eu", PAY, export(1.0)) == set()
    assert it.apply_export("west", PAY, export(1.0, to=("eu", "east"))) == {PAY}
    # No longer for us: as if it were gone.
    assert it.apply_export("west", PAY, export(1.0, to=("eu",))) == {PAY}
    assert not it.services


def test_changed_imports_apply_to_what_is_exported() -> None:
    """What is let in before and after is not touched; what is not exported to us stays out."""
    it = catalog({"west": ("shop/pay",)})
    offered = {name: export(1.0) for name in (PAY, ServiceName("shop", "cart"))}
    offered[ServiceName("shop", "theirs")] = export(1.0, to=("eu",))
    for name, value in offered.items():
        it.apply_export("west", name, value)
    assert set(it.services) == {PAY}
    assert it.apply_imports(ImportPolicy(None), {"west": offered}) == {ServiceName("shop", "cart")}
    assert it.apply_imports(ImportPolicy({"west": ("shop/c*",)}), {"west": offered}) == {PAY}
    assert set(it.services) == {ServiceName("shop", "cart")}


def test_a_peer_is_cut_at_the_limits_and_others_are_not() -> None:
    """Whichever comes first, the oldest are taken; what one withdraws makes room for the next; other limits move the
    cut at once."""
    names = [ServiceName("shop", f"s{number}") for number in range(5)]
    limits = ImportLimits(max_services=3)
    it = Catalog("east", ImportPolicy(None, limits))
    for age, name in reversed([*enumerate(names)]):
        it.apply_export("west", name, export(float(age)))
    it.apply_export("eu", names[4], export(9.0))
    assert it.left_out("west") == (2, names[3])
    assert it.left_out("eu") == it.left_out("mars") == (0, None)
    assert set(it.services) == {*names[:3], names[4]}
    assert [share.cluster for share in it.services[names[4]].exports] == ["eu"]
    assert it.apply_export("west", names[0], None) == {names[0], names[3]}
    offered = {
        "west": {name: export(float(age)) for age, name in enumerate(names) if age},
        "eu": {names[4]: export(9.0)},
    }
    assert it.apply_imports(ImportPolicy(None, ImportLimits(max_services=1)), offered) == {names[2], names[3]}
    assert it.apply_imports(ImportPolicy(None), offered) == set(names[2:])
    assert it.left_out("west") == (0, None)
    it.drop_cluster("west")
    assert set(it.services) == {names[4]}


def test_a_local_service_is_part_of_the_same_service() -> None:
    """Exported, it has its age among the others; unexported, its own clients keep its ports whatever peers export."""
    tcp = Port("http", 80, Protocol.TCP)
    it = catalog()
    it.apply_export("west", PAY, export(10.0))
    it.apply_local(local(tcp, to=("*",)), ZONES, 20.0)
    assert it.services[PAY].ports == (HTTP,)
    it.apply_local(local(tcp), ZONES, None)
    assert it.services[PAY].ports == (tcp,)
    assert it.services[PAY].exports[0].created == 0.0
    assert it.remove_local(PAY) == {PAY}
    assert it.services[PAY].ports == (HTTP,)


def test_freshness_is_part_of_a_share_when_it_changes_its_use() -> None:
    """Suspect is used as fresh is, so no service changes for it; stale is last in priority; withdrawn is gone."""
    it = catalog()
    it.apply_export("west", PAY, export(1.0))
    assert it.apply_freshness("west", Freshness.SUSPECT) == set()
    assert it.services[PAY].exports[0].freshness is Freshness.FRESH
    assert it.apply_freshness("west", Freshness.STALE) == {PAY}
    assert it.services[PAY].exports[0].freshness is Freshness.STALE
    assert it.apply_freshness("west", Freshness.WITHDRAWN) == {PAY}
    assert not it.services
    assert it.apply_export("west", PAY, export(2.0)) == set()
    assert it.apply_freshness("west", Freshness.SUSPECT) == {PAY}
    assert it.services[PAY].exports[0].created == 2.0


def test_nothing_new_is_no_change() -> None:
    """Who is told of changes recompiles for each: the same again must be silent."""
    it = catalog()
    it.apply_export("west", PAY, export(1.0))
    assert it.apply_export("west", PAY, export(1.0)) == set()
    assert it.apply_export("west", ServiceName("shop", "none"), None) == set()
    assert it.apply_freshness("west", Freshness.FRESH) == set()


def test_a_dropped_cluster_leaves_nothing() -> None:
    it = catalog()
    it.apply_export("west", PAY, export(1.0))
    it.apply_export("eu", PAY, export(2.0))
    it.apply_freshness("west", Freshness.STALE)
    assert it.drop_cluster("west") == {PAY}
    assert [share.cluster for share in it.services[PAY].exports] == ["eu"]
    assert it.shared_by("west") == 0
