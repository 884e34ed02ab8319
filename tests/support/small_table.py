"""Tables of a test's own, to be formatted: over tiny encoders, which trains in a moment; and of one row."""

EXPERIMENT = """
title = "Mine"
dataset = "jsonl"
metrics = ["tag_f1"]
[defaults.options]
text_encoder = "{bert}"
image_encoder = "{resnet}"
image_size = 8
image_tuned = false
range_threshold = 0.2
[defaults.options.training]
learning_rates = {{ default = 1e-2 }}
batch_size = 8
steps = 10
validate_every = 5
[[rows]]
label = "dictionary"
model = "dictionary"
[[rows]]
label = "DRAM"
model = "dram"
options = {{ fusion = "tem", arm = "prototype" }}
[[rows]]
label = "DRAM, shuffled"
model = "dram"
options = {{ fusion = "tem", arm = "prototype" }}
control = {{ pictures = "shuffled" }}
"""

ONE_ROW = """
title = "A table"
dataset = "demo"
metrics = ["tag_f1"]
[[rows]]
label = "{label}"
model = "{model}"
options = {{ {options} }}
"""
