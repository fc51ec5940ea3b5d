service {
  name = "web"
  id = "web-1"
  address = "10.244.1.1"
  port = 9090
  check { tcp = "10.244.1.1:9090" interval = "500ms" timeout = "1s" }
}
