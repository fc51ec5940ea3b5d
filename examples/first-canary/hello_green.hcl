service {
  name = "hello"
  id = "hello-green"
  address = "127.0.0.1"
  port = 8082
  meta { version = "3" }
  tagged_addresses { virtual { address = "10.96.0.10" port = 80 } }
  check { tcp = "127.0.0.1:8082" interval = "1s" timeout = "1s" }
}
