# Both fail over to each other: legal, for failover is never followed twice.

kind = "service-resolver"
name = "web"
failover { "*" { service = "shop" } }
---
kind = "service-resolver"
name = "shop"
failover { "*" { service = "web" } }
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
  meta { version = "1" health = "critical" }
  tagged_addresses { virtual { address = "10.96.0.2" port = 80 } }
}
