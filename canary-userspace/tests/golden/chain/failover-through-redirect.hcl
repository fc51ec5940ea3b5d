# A failover target goes through its own redirect and default subset.

kind = "service-resolver"
name = "web"
failover { "*" { service = "next" } }
---
kind = "service-resolver"
name = "next"
redirect { service = "shop" }
---
kind = "service-resolver"
name = "shop"
default_subset = "v1"
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
  meta { version = "1" health = "critical" }
  tagged_addresses { virtual { address = "10.96.0.1" port = 80 } }
}
---
service {
  name = "shop"
  id = "shop-1"
  address = "10.0.2.1"
  port = 8080
  meta { version = "1" health = "passing" }
  tagged_addresses { virtual { address = "10.96.0.2" port = 80 } }
}
service {
  name = "shop"
  id = "shop-2"
  address = "10.0.2.2"
  port = 8080
  meta { version = "2" health = "passing" }
  tagged_addresses { virtual { address = "10.96.0.2" port = 80 } }
}
---
service {
  name = "next"
  id = "next-1"
  address = "10.0.3.1"
  port = 8080
  meta { version = "1" health = "passing" }
  tagged_addresses { virtual { address = "10.96.0.3" port = 80 } }
}
