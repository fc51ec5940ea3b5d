//! Labs of network namespaces for the tests that need root.
