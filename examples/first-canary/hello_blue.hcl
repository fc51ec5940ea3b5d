service {
  name = "hello"
  id = "hello-blue"
  address = "127.0.0.1"
  port = 8081
  meta { version = "2" }
  tagged_addresses { virtual { address = "10.96.0.10" port = 80 } }
  check { tcp = "127.0.0.1:8081" interval = "1s" timeout = "1s" }
}
