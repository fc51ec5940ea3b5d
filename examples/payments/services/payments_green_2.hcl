service {
  name = "payments"
  id = "payments-green-2"
  address = "10.244.1.7"
  port = 8080
  meta { version = "3" }
  tags = ["v3"]
  tagged_addresses { virtual { address = "10.96.0.10" port = 80 } }
  check { tcp = "10.244.1.7:8080" interval = "500ms" timeout = "1s" }
}
