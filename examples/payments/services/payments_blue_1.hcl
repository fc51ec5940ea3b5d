service {
  name = "payments"
  id = "payments-blue-1"
  address = "10.244.1.4"
  port = 8080
  meta { version = "2" }
  tags = ["v2"]
  tagged_addresses { virtual { address = "10.96.0.10" port = 80 } }
  check { tcp = "10.244.1.4:8080" interval = "500ms" timeout = "1s" }
}
