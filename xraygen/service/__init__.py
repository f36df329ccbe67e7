"""The HTTP service: annotations and judgements by what the pipeline produced, `xraygen serve`.

One process speaks HTTP and computes nothing. Each approach, and the judge, has a process with its
model, which may crash, hang or run out of memory without taking the service down. Nothing that a
client sends is written to disk, except images, while they are annotated.
"""
