"""The recipe of the small vision-language model that ships, models/tiny-qwen2-vl: `make
tiny-model`.

A Qwen2-VL of 3.6 million parameters, trained from nothing on phantom studies alone: `build` makes
tokenizer, processor and untrained weights, `lessons` what it is taught, `pretrain` teaches it.
"""
