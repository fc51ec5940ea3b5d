// Drives the agent's HTTP interface with Consul's client library for JavaScript.
//
// Called with the agent's URL; CANARY_TOKEN is a token to show, CANARY_CA_FILE whom to trust. Ends
// with an error at the first answer that is not Consul's.

"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const Consul = require("consul");

const SERVICE = "shop";

function client(url) {
  const secure = url.protocol === "https:";
  const ca = process.env.CANARY_CA_FILE && fs.readFileSync(process.env.CANARY_CA_FILE);
  return new Consul({
    host: url.hostname,
    port: url.port,
    secure,
    agent: secure ? new https.Agent({ ca }) : new http.Agent(),
    defaults: process.env.CANARY_TOKEN ? { token: process.env.CANARY_TOKEN } : {},
  });
}

async function register(consul, id, port, tags) {
  await consul.agent.service.register({
    name: SERVICE,
    id,
    address: "10.244.1.1",
    port,
    tags,
    meta: { version: "2" },
  });
}

async function look(consul, node) {
  const services = await consul.agent.services();
  assert.deepEqual(Object.keys(services), ["shop-1"]);
  assert.equal(services["shop-1"].Service, SERVICE);
  const [row] = await consul.catalog.service.nodes(SERVICE);
  assert.equal(row.ServiceAddress, "10.244.1.1");
  assert.deepEqual(row.ServiceTags, ["v2"]);
  assert.deepEqual(row.ServiceMeta, { version: "2" });
  assert.deepEqual(await consul.catalog.service.list(), { [SERVICE]: ["v2"] });
  const nodes = await consul.catalog.node.list();
  assert.deepEqual(nodes.map((found) => found.Node), [node]);
  const own = await consul.catalog.node.services(node);
  assert.deepEqual(Object.keys(own.Services), ["shop-1"]);
  assert.deepEqual(await consul.catalog.datacenters(), ["dc1"]);
  const [health] = await consul.health.service({ service: SERVICE, passing: true });
  assert.equal(health.Node.Node, node);
  assert.equal(health.Service.Port, 8080);
  assert.deepEqual(await consul.health.checks(SERVICE), []);
  assert.deepEqual(await consul.health.state("critical"), []);
  assert.deepEqual(await consul.health.service({ service: SERVICE, tag: "v3" }), []);
}

// Each registration is seen by who watches the service, without a question in between.
function watch(consul) {
  const watcher = consul.watch({
    method: consul.health.service,
    options: { service: SERVICE, wait: "60s" },
    maxAttempts: 0,
  });
  const seen = [];
  return new Promise((resolve, reject) => {
    watcher.on("error", reject);
    watcher.on("change", (rows) => {
      seen.push(rows.length);
      const next = {
        1: () => register(consul, "shop-2", 8081, ["v2"]),
        2: () => consul.agent.service.deregister("shop-2"),
      };
      if (seen.length === 3) {
        watcher.end();
        resolve(seen);
      } else {
        next[seen.length]().catch(reject);
      }
    });
  });
}

async function main() {
  const consul = client(new URL(process.argv[2]));
  assert.match(await consul.status.leader(), /:8300$/);
  assert.equal((await consul.status.peers()).length, 1);
  const own = await consul.agent.self();
  const [member] = await consul.agent.members();
  assert.equal(member.Name, own.Config.NodeName);
  assert.deepEqual(await consul.agent.services(), {});
  await register(consul, "shop-1", 8080, ["v2"]);
  await look(consul, member.Name);
  assert.deepEqual(await watch(consul), [1, 2, 1]);
  await assert.rejects(consul.health.service({ service: SERVICE, dc: "dc9" }), /No path to datacenter/);
  await assert.rejects(consul.agent.service.deregister("shop-9"), /not found/);
  await consul.agent.service.deregister("shop-1");
  assert.deepEqual(await consul.catalog.service.list(), {});
  console.log("passed");
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
