# The same with a resolver that says a time.

kind = "service-splitter"
name = "web"
splits = [
  { weight = 100 },
]
---
kind = "service-resolver"
name = "web"
connect_timeout = "33s"
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
