"""Vision-language models: one conversation and one preprocessing for training and inference.

conversation   a case as the user's turn, a reference as the completion, a file as a picture
processor      Qwen2-VL's processor without the one for videos
model          a base or an adapter folder as (model, processor)
encoding       cases as rows of tensors, rows as batches
recombine      more studies out of few
rows, swaps    studies as a data set to train on; with words that change from pass to pass
finetune       settings and studies -> an adapter; trainer does it
precision      what training computes in: bfloat16 where it is native, else float32
loss, muon     what training makes small; an optimiser for whole matrices
merge          an adapter and its base as one model
cpu            the same Qwen2-VL model, faster on a CPU
"""
