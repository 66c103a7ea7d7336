"""Phases in which the layers of a network train one after another, from the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medseg.errors import Code, MedsegError
from medseg.train.optim import Phase


def layer_by_layer(phase: Phase, layers: Sequence[Sequence[str]], where: str, *, alone: bool) -> list[Phase]:
    """Split a phase into one for each layer of it, from the last of ``layers`` to the first.

    ``layers`` are names of parameters; what the phase freezes is left out. In each phase one layer trains
    ``alone``, or with all those after it. They share the epochs equally; the last phase gets the rest, too.

    :raises MedsegError: ``KEYWORD_INVALID`` for the key ``where`` if there are fewer epochs than layers.
    """
    trained = [tuple(name for name in layer if phase.rate_of(name) > 0) for layer in layers]
    trained = [layer for layer in trained if layer]
    if not trained:
        return [phase]  # its globs match nothing, which is refused with them
    each, rest = divmod(phase.epochs, len(trained))
    if each == 0:
        details = f"{phase.epochs} epochs for {len(trained)} layers, one after another"
        how_to_fix = f"make them {len(trained)} or more, or name fewer layers"
        raise MedsegError(Code.KEYWORD_INVALID, where, details, how_to_fix)
    phases: list[Phase] = []
    later: tuple[str, ...] = ()
    for layer in reversed(trained):
        phases.append(replace(phase, epochs=each, layers=layer if alone else layer + later))
        later = layer + later
    phases[-1] = replace(phases[-1], epochs=each + rest)
    return phases
