service {
  name = "currency"
  id = "currency-1"
  address = "10.244.1.3"
  port = 8080
  meta { version = "1" }
  tags = ["v1"]
  tagged_addresses { virtual { address = "10.96.0.30" port = 80 } }
  check { tcp = "10.244.1.3:8080" interval = "500ms" timeout = "1s" }
}
