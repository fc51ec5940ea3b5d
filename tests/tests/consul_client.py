"""Drives the agent's HTTP interface with Consul's client library for Python.

Called with the agent's port; ends with an error at the first answer that is not Consul's.
"""

import sys

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
        check=consul.Check.tcp("10.244.1.2", 8080, "1s", timeout="1s"),
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
    refused(
        "a filter",
        BadRequest,
        "the parameter filter is not supported yet",
        lambda: client.agent.services(filter_expr='Meta.version == "3"'),
    )


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


def main():
    client = consul.Consul(host="127.0.0.1", port=int(sys.argv[1]))
    if not client.status.leader():
        raise AssertionError("no leader")
    expect("services at first", client.agent.services(), {})
    services(client)
    entries(client)
    leave(client)
    print("passed")


main()
