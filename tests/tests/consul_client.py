"""Drives the agent's HTTP interface with Consul's client library for Python.

Called with the agent's URL; CANARY_TOKEN is a token to show, CANARY_CA_FILE whom to trust. Ends with
an error at the first answer that is not Consul's.
"""

import os
import sys
import threading
from urllib.parse import urlsplit

import consul
from consul.exceptions import BadRequest, ConsulException

SERVICE = "shop"
RESOLVER = {
    "DefaultSubset": "blue",
    "Subsets": {
        "blue": {"Filter": "Service.Meta.version == 2"},
        "green": {"Filter": "Service.Meta.version == 3"},
    },
}


def splitter(blue, green):
    return {
        "Splits": [
            {"Weight": blue, "ServiceSubset": "blue"},
            {"Weight": green, "ServiceSubset": "green"},
        ]
    }


def expect(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: {got!r}, not {wanted!r}")


def refused(what, error, text, call):
    try:
        answer = call()
    except error as refusal:
        if text not in str(refusal):
            raise AssertionError(f"{what}: {text!r} is not in {refusal}") from refusal
        return
    raise AssertionError(f"{what} was not refused: {answer!r}")


def services(client):
    client.agent.service.register(
        SERVICE,
        service_id="shop-1",
        address="10.244.1.1",
        port=8080,
        tags=["v2"],
        meta={"version": "2"},
        weights={"Passing": 3, "Warning": 1},
        tagged_addresses={"virtual": {"address": "10.96.0.80", "port": 80}},
    )
    client.agent.service.register(
        SERVICE,
        service_id="shop-2",
        address="10.244.1.2",
        port=8080,
        meta={"version": "3"},
        check=consul.Check.tcp("127.0.0.1", 1, "1s", timeout="1s"),
    )
    found = client.agent.services()
    expect("ids", sorted(found), ["shop-1", "shop-2"])
    first = found["shop-1"]
    expect("service", first["Service"], SERVICE)
    expect("address", (first["Address"], first["Port"]), ("10.244.1.1", 8080))
    expect("tags", first["Tags"], ["v2"])
    expect("meta", first["Meta"], {"version": "2"})
    expect("weights", first["Weights"], {"Passing": 3, "Warning": 1})
    virtual = first["TaggedAddresses"]["virtual"]
    expect("virtual", (virtual["Address"], virtual["Port"]), ("10.96.0.80", 80))
    some = client.agent.services(filter_expr='Meta.version == "3"')
    expect("filtered", sorted(some), ["shop-2"])
    refused(
        "a filter",
        BadRequest,
        "Failed to create boolean expression evaluator",
        lambda: client.agent.services(filter_expr="Meta.version == "),
    )


def catalogue(client):
    node = client.agent.self()["Config"]["NodeName"]
    _, names = client.catalog.services()
    expect("names", names, {SERVICE: ["v2"]})
    _, nodes = client.catalog.nodes()
    expect("nodes", [found["Node"] for found in nodes], [node])
    _, one = client.catalog.node(node)
    expect("services of the node", sorted(one["Services"]), ["shop-1", "shop-2"])
    _, rows = client.catalog.service(SERVICE, tag="v2")
    expect("rows", [row["ServiceID"] for row in rows], ["shop-1"])
    expect("datacenters", client.catalog.datacenters(), ["dc1"])
    expect("members", [member["Name"] for member in client.agent.members()], [node])
    expect("peers", len(client.status.peers()), 1)
    refused(
        "another datacenter",
        ConsulException,
        "No path to datacenter",
        lambda: client.catalog.services(dc="dc9"),
    )


def settle(client):
    """Waits until every check has said something: the first word of one is a change too."""
    index = None
    while True:
        index, checks = client.health.checks(SERVICE, index=index, wait="10s")
        if all(check["Output"] for check in checks):
            return


def health(client):
    """Waits for a change that another connection makes, and for one that does not come."""
    settle(client)
    index, rows = client.health.service(SERVICE, passing=True)
    expect("healthy", [row["Service"]["ID"] for row in rows], ["shop-1"])
    expect("weights", rows[0]["Service"]["Weights"], {"Passing": 3, "Warning": 1})
    again, rows = client.health.service(SERVICE, index=index, wait="100ms", passing=True)
    expect("no change", (again, len(rows)), (index, 1))

    found = []
    waiting = threading.Thread(
        target=lambda: found.extend(
            client.health.service(SERVICE, index=index, wait="60s", passing=True)
        )
    )
    waiting.start()
    other = connect()
    other.agent.service.register(
        SERVICE, service_id="shop-3", address="10.244.1.3", port=8080, tags=["v3"]
    )
    waiting.join(timeout=30)
    newer, rows = found
    if int(newer) <= int(index):
        raise AssertionError(f"index {newer} after {index}")
    expect("after a change", [row["Service"]["ID"] for row in rows], ["shop-1", "shop-3"])
    expect("deregister", client.agent.service.deregister("shop-3"), True)


def entries(client):
    expect("resolver", client.config.set("service-resolver", SERVICE, RESOLVER), True)
    expect("splitter", client.config.set("service-splitter", SERVICE, splitter(90, 10)), True)
    found = client.config.get("service-splitter", SERVICE)
    expect("kind", (found["Kind"], found["Name"]), ("service-splitter", SERVICE))
    expect("weights", [split["Weight"] for split in found["Splits"]], [90, 10])
    index = found["ModifyIndex"]

    missed = client.config.set("service-splitter", SERVICE, splitter(50, 50), cas=index + 1)
    expect("cas that misses", missed, False)
    fits = client.config.set("service-splitter", SERVICE, splitter(50, 50), cas=index)
    expect("cas that fits", fits, True)
    listed = client.config.list("service-splitter")
    expect("list", [entry["Name"] for entry in listed], [SERVICE])
    expect("listed", [split["Weight"] for split in listed[0]["Splits"]], [50, 50])
    expect("empty list", client.config.list("service-defaults"), [])

    refused(
        "a sum",
        ConsulException,
        "the sum of all split weights must be 100, not 110.000000",
        lambda: client.config.set("service-splitter", SERVICE, splitter(90, 20)),
    )
    refused(
        "a key",
        BadRequest,
        "Request decoding failed: ",
        lambda: client.config.set("service-splitter", SERVICE, {"Splitz": []}),
    )
    refused(
        "a resolver in use",
        ConsulException,
        'service "shop" does not have a subset named "blue"',
        lambda: client.config.delete("service-resolver", SERVICE),
    )


def leave(client):
    expect("delete", client.config.delete("service-splitter", SERVICE), True)
    expect("delete", client.config.delete("service-resolver", SERVICE), True)
    expect("what is gone", client.config.get("service-splitter", SERVICE), None)
    for name in ["shop-1", "shop-2"]:
        expect("deregister", client.agent.service.deregister(name), True)
    expect("services", client.agent.services(), {})
    expect("an unknown id", client.agent.service.deregister("shop-1"), False)
    expect("reload", client.agent.reload(), True)


def connect():
    url = urlsplit(sys.argv[1])
    token = os.environ.get("CANARY_TOKEN")
    client = consul.Consul(
        host=url.hostname,
        port=url.port,
        scheme=url.scheme,
        verify=os.environ.get("CANARY_CA_FILE", True),
        token=token,
    )
    # Some calls of the library, such as agent.self(), send no token of their own accord.
    if token:
        client.http.session.headers["X-Consul-Token"] = token
    return client


def main():
    client = connect()
    if not client.status.leader():
        raise AssertionError("no leader")
    expect("services at first", client.agent.services(), {})
    services(client)
    catalogue(client)
    health(client)
    entries(client)
    leave(client)
    print("passed")


main()
