"""Product titles as released with ExtractGPT: `ae110k` and `oa_mine` are plug-ins, `layout` is how both are read."""
