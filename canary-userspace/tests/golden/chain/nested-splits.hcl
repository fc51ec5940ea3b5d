# Weights multiply exactly; equal leaves are one; rounded once.

kind = "service-splitter"
name = "web"
splits = [
  { weight = 33.33, service = "shop" },
  { weight = 33.33, service = "next" },
  { weight = 33.34, service = "shared" },
]
---
kind = "service-splitter"
name = "shop"
splits = [
  { weight = 50, service = "shared" },
  { weight = 50, service_subset = "v1" },
]
---
kind = "service-splitter"
name = "next"
splits = [
  { weight = 0.49, service = "shop" },
  { weight = 99.51 },
]
---
kind = "service-resolver"
name = "shop"
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
---
service {
  name = "shared"
  id = "shared-1"
  address = "10.0.4.1"
  port = 8080
  meta { version = "1" health = "passing" }
  tagged_addresses { virtual { address = "10.96.0.4" port = 80 } }
}
