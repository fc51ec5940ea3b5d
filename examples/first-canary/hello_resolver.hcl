kind = "service-resolver"
name = "hello"
default_subset = "blue"
subsets = {
  blue = {
    filter = "Service.Meta.version == 2"
  }
  green = {
    filter = "Service.Meta.version == 3"
  }
}
