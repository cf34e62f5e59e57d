from tests.bench.failover import heard_of_all
from tests.fault_rig.samples import Sample


def get(client: str, ended: float) -> Sample:
    return Sample("get", client, 0.0, ended, 200)


def test_a_client_that_still_waits_is_waited_for() -> None:
    """A frozen cluster's clients hang: a look that ends before their answers do would call that a success."""
    samples = [get("get 0", 9.0), get("get 1", 11.0)]
    assert not heard_of_all(samples, 2, since=10.0)
    assert heard_of_all([*samples, get("get 0", 12.0)], 2, since=10.0)
