"""The five lines: a supervisor of words, a student of meaning, and how much of the gap comes back."""

import oversight as ov

task = ov.load_task("reviews", n_train=1500)
result = ov.weak_to_strong(task, weak="bow", strong="minilm@4", method=["naive", "confidence"], seeds=3)
print(result)
result.report("report.html")

study = result[0]
gap = study.gap
print(f"{study.weak_model} -> {study.strong_model}: gap {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]")
print("PGR", f"{study.pgr.value:.2f}" if study.pgr.defined else f"undefined: {study.pgr.reason}")
