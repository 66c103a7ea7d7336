"""Images that were made from others beside them, and are no channels of their own: told by words in names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from medseg.ingest import freesurfer_names, path_words
from medseg.ingest.label_templates import TRIED, Files
from medseg.ingest.looks import Looks

PROCESSING = {
    *(
        "preproc",
        "preprocessed",
        "pp",
        "brain",
        "bet",
        "strip",
        "stripped",
        "skullstripped",
        "ss",
        "n4",
        "bfc",
        "bias",
    ),
    *(
        "norm",
        "normalized",
        "normalised",
        "corrected",
        "reg",
        "registered",
        "resampled",
        "defaced",
        "denoised",
    ),
}
"""Words in names of images that were made from other images."""

_PROBABILITIES = {
    *(
        "prob",
        "probs",
        "probability",
        "probabilities",
        "probseg",
        "pve",
        "posterior",
        "posteriors",
        "softmax",
    ),
    *("confidence", "likelihood", "uncertainty", "logits"),
}
"""Words in names of maps of probabilities."""


def is_derived(template: str, images: Mapping[str, Files], looks: Looks) -> bool:
    """True for a template of images that were processed, of probabilities, or of FreeSurfer's later volumes.

    ``images`` are all templates on the label maps' grid: what was made from an image of another grid stays.
    """
    return (
        _is_processed(template, images)
        or _is_probability(template, images, looks)
        or freesurfer_names.is_made_from_another(template, images)
    )


def _is_processed(template: str, images: Iterable[str]) -> bool:
    """True for images that were made from others that are there, in derivatives or by words of processing."""
    if template.startswith("derivatives/"):
        return any(not image.startswith("derivatives/") for image in images)
    own = {word.lower() for word in path_words.words_of(template)}
    if not own & PROCESSING:
        return False
    others = ({word.lower() for word in path_words.words_of(i)} for i in images if i != template)
    return any(not other & PROCESSING and own - other <= PROCESSING for other in others)


def _is_probability(template: str, images: Mapping[str, Files], looks: Looks) -> bool:
    """True for maps of probabilities beside images: by their name, or as they hold nothing but 0 to 1.

    Maps with a contrast of their own, as FA, are images.
    """

    def words(image: str) -> set[str]:
        return {word.lower() for word in path_words.words_of(image)}

    def is_fraction(image: str) -> bool:
        return all(looks.at(path).is_fraction for path in list(images[image].values())[:TRIED])

    others = [image for image in images if image != template]
    if words(template) & _PROBABILITIES:
        return any(not words(image) & _PROBABILITIES for image in others)
    known = {word for image in others for word in words(image)}
    own = {word for word in words(template) - known if path_words.is_contrast(word)}
    return not own and is_fraction(template) and not all(map(is_fraction, others))
