# The resolver's own policy, by the client's address.

kind = "service-resolver"
name = "web"
load_balancer {
  policy = "ring_hash"
  ring_hash_config { minimum_ring_size = 1024 }
  hash_policies = [{ source_ip = true }]
}
---
service {
  name = "web"
  id = "web-1"
  address = "10.0.1.1"
  port = 8080
  meta { version = "1" health = "passing" }
  tagged_addresses { virtual { address = "10.96.0.1" port = 80 } }
}
service {
  name = "web"
  id = "web-2"
  address = "10.0.1.2"
  port = 8080
  meta { version = "2" health = "passing" }
  tagged_addresses { virtual { address = "10.96.0.1" port = 80 } }
}
