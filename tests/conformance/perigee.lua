-- For tests/conformance/run: some cases of the suite send more than the defaults take.
return {
  limits = {
    message_bytes = "16 MiB",
    fragments = 65537, -- 65,536 and an empty last one
  },
}
