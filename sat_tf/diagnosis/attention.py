"""Whether attention looks for something."""

from sat_tf.diagnosis.findings import Finding, judge
from sat_tf.diagnosis.patient import Patient

_LEAST = 0.5  # percent of alpha's mass; of trained models 3 to 50 move


def attention(patient: Patient) -> Finding:
    """It depends on h, and moves from word to word."""
    scores = patient.scored.scores
    depends, moves = scores.get("attention_dependence", 0.0), scores["attention_change"]
    return judge(
        min(depends, moves) < _LEAST,
        f"with another caption's h {depends:.1f} % of alpha's mass lies elsewhere; {moves:.1f} % "
        f"moves from word to word; {len(patient.scored.records)} captions",
        "attention is dead: the same map for every word. Start again with another --seed, the "
        "default --initial_weights and no --weight_decay, and watch attention_dependence in "
        "TensorBoard; it can choose the best weights (--best_by)",
        attention_dependence=depends,
        attention_change=moves,
    )
