"""Whether attention looks for something."""

from sat_tf.doctor.results import CheckResult, judge, not_needed
from sat_tf.doctor.run_context import RunContext

_LEAST = 0.5  # percent of alpha's mass; of trained models 3 to 50 move


def attention(patient: RunContext) -> CheckResult:
    """Whether it depends on h, and whether it moves from word to word."""
    scores, captions = patient.scored.scores, patient.scored.captions
    if patient.run.model.num_locations == 1:
        return not_needed("there is one place to look at")
    if "state_sensitivity" not in scores:
        return not_needed("there is no second caption, whose h could be exchanged for its own")
    depends, moves = scores["state_sensitivity"], scores["attention_change"]
    has_steps = any(len(caption.words) > 1 for caption in captions)
    return judge(
        depends < _LEAST or (has_steps and moves < _LEAST),
        f"with another caption's h {depends:.1f} % of alpha's mass lies elsewhere; {moves:.1f} % "
        f"moves from word to word; {len(captions):,} captions",
        "attention is dead: the same map for every word. Start again with another --seed, the "
        "default --initializer and no --weight_decay, and watch state_sensitivity in "
        "TensorBoard; it can choose the best weights (--monitor)",
        state_sensitivity=depends,
        attention_change=moves,
    )
