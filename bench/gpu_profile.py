"""Where the time of a training step and of a step of generation goes, by torch's profiler: the
share in which the GPU computes, how many kernels the host launches, how often it waits, and what
takes longest.
"""

from gpu_generation import Bench as GenerationBench
from gpu_training import Bench as TrainingBench
from gpu_training import Setting, settings_of, tokens_of

_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
_STEPS = 2  # of training, profiled
_TOKENS = 12  # of an answer


def profile(measure) -> None:
    settings = settings_of(measure, "lora", 1)
    training = TrainingBench(measure, settings, 1)
    training.see_views()
    for tokens in tokens_of(measure)[: 1 if measure.smoke else 2]:
        asked = settings.model_copy(update={"max_batch_tokens": tokens})
        setting = Setting(asked, *((1, 1) if measure.smoke else (3, _STEPS)))
        measure.part(f"LoRA, {tokens} tokens", _training, measure, training, setting)
    del training
    generation = GenerationBench(measure)
    for batch in (1,) if measure.smoke else (1, 64):
        measure.part(f"generation, batch {batch}", _generation, measure, generation, batch)


def _training(measure, bench: TrainingBench, setting: Setting) -> dict:
    from transformers import TrainerCallback

    profiler = _profiler(measure)
    times = {}

    class Profiled(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == setting.warm:
                profiler.start()
                times["start"] = measure.now()
            elif state.global_step == setting.warm + setting.steps:
                times["seconds"] = measure.now() - times["start"]
                profiler.stop()

    bench.train(setting, Profiled())
    return {"steps": setting.steps} | _summary(profiler, times["seconds"], setting.steps)


def _generation(measure, bench: GenerationBench, batch: int) -> dict:
    tokens = 2 if measure.smoke else _TOKENS
    if not measure.smoke:
        bench.run(bench.cases[:batch], batch, 2)
    profiler = _profiler(measure)
    profiler.start()
    bench.run(bench.cases[:batch], batch, tokens)
    profiler.stop()
    return {"tokens": tokens} | _summary(profiler, bench.generating, tokens)


def _profiler(measure):
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * measure.cuda
    return profile(activities=activities, acc_events=True)


def _summary(profiler, seconds: float, steps: int) -> dict:
    """Per step. Times of the host are its own, without what an operation calls."""
    events = profiler.key_averages()
    # A named range is also there as an event on the GPU, as long as all kernels in it.
    kernels = [
        event
        for event in events
        if "CUDA" in str(event.device_type) and not getattr(event, "is_user_annotation", False)
    ]
    host = [event for event in events if "CUDA" not in str(event.device_type)]
    computing = sum(event.self_device_time_total for event in kernels) / 1e6
    return {
        "step_milliseconds": 1000 * seconds / steps,
        "share_computing": computing / seconds,
        "kernels": sum(event.count for event in kernels) / steps,
        "waits": sum(event.count for event in host if event.key in _WAITS) / steps,
        "operations": sum(event.count for event in host if event.key.startswith("aten::")) / steps,
        "longest_kernels": _longest(kernels, "self_device_time_total", steps),
        "longest_on_host": _longest(host, "self_cpu_time_total", steps),
    }


def _longest(events: list, time: str, steps: int) -> dict[str, float]:
    """Milliseconds of a step by name, of the ten that take most."""
    longest = sorted(events, key=lambda event: -getattr(event, time))[:10]
    return {event.key[:80]: round(getattr(event, time) / 1000 / steps, 3) for event in longest}
