"""The recipe for the small vision-language model that ships, models/tiny-qwen2-vl: `make
tiny-model`.

A Qwen2-VL of 3.6 million parameters, trained from scratch on phantom studies alone. `build` makes
tokenizer, processor and untrained weights, `lessons` the training texts, `pictures` the images, and
`pretrain` trains the model.
"""
