# Two subsets of one service.

kind = "service-splitter"
name = "web"
splits = [
  { weight = 60, service_subset = "v2" },
  { weight = 40, service_subset = "v1" },
]
---
kind = "service-resolver"
name = "web"
subsets {
  v1 { filter = "Service.Meta.version == 1" }
  v2 { filter = "Service.Meta.version == 2" only_passing = true }
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
