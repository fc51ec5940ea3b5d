# Every reference becomes the other service.

kind = "service-resolver"
name = "web"
redirect { service = "shop" }
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
