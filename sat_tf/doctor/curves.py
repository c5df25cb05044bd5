"""What the record of the training tells."""

from sat_tf.doctor.results import CheckResult, judge, not_needed
from sat_tf.doctor.run_context import RunContext

# Of validation's perplexity over its lowest: at the epoch whose weights are kept, and at the last.
_MOST_CHOSEN, _MOST_LAST = 0.1, 0.3
_MOST_LOST = 0.5  # of what the training loss had fallen


def diverging(patient: RunContext) -> CheckResult:
    """Neither training's loss came apart, nor validation's from training's."""
    if not patient.was_trained:
        return not_needed("the run was not trained here, but imported")
    if patient.config.training.self_critical != "none":
        return not_needed("self-critical training does not train for the likelihood")
    losses = [epoch["loss"] for epoch in patient.history]
    perplexities = [epoch["perplexity"] for epoch in patient.history]
    best, last = patient.best_epoch, len(losses)
    lowest = perplexities.index(min(perplexities)) + 1
    chosen_above = perplexities[best - 1] / perplexities[lowest - 1] - 1
    last_above = perplexities[-1] / perplexities[lowest - 1] - 1
    # Not as a share of the loss: hard attention's may be below zero.
    fallen, risen = losses[0] - min(losses), losses[-1] - min(losses)
    came_apart = risen > _MOST_LOST * fallen
    return judge(
        came_apart or chosen_above > _MOST_CHOSEN or last_above > _MOST_LAST,
        f"training's loss went from {losses[0]:.2f} to {losses[-1]:.2f} in {last} epochs, "
        f"{min(losses):.2f} at the lowest; validation's perplexity is lowest after epoch {lowest} "
        f"({perplexities[lowest - 1]:.2f}), {chosen_above:+.0%} after epoch {best}, whose weights "
        f"are kept, {last_above:+.0%} after the last",
        "train again with a lower --learning_rate or --clip_norm"
        if came_apart
        else "the run learns its captions by heart: more captions, more --dropout, fewer "
        "--max_epochs or --patience, or --monitor=perplexity",
        chosen_above=chosen_above,
        last_above=last_above,
        risen=risen,
    )
