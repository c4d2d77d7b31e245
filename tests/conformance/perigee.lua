-- For tests/conformance/run: some cases of the suite send more than the defaults take.
return {
  limits = {
    message_bytes = "16 MiB",
    fragments = 65536,
  },
}
