"""The text of a model folder's `card.md`: the network, its training and the scans that it expects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medseg.grid import NOUNS
from medseg.io.dicom.codes import codes_of
from medseg.model import domain
from medseg.networks import AUTOENCODER

if TYPE_CHECKING:
    from medseg.model.description import Description


def card(description: Description, parameters: int, members: int) -> str:
    """Write the text of `card.md`; `parameters` are those of one member."""
    names = ", ".join(description.class_list().foreground_names)
    keywords = f" ({domain.words(description.keywords)})" if description.keywords else ""
    plural = "" if members == 1 else "s"
    trained = "\n".join(f"- {member}: {domain.words(facts)}" for member, facts in description.trained.items())
    trained_on = "\n".join(f"- {line}" for line in domain.lines(description.domain))
    inputs = f"{NOUNS[description.unit]}s"
    aim = f"Labels {names} in"
    use = f"""- prediction: {_prediction(description)}{_codes(description)}
- use: `medseg segment {inputs.upper()} OUT --model THIS_FOLDER`"""
    if description.network == AUTOENCODER:
        aim = "An auto-encoder, which segments nothing: it gives again what it sees of"
        use = "- use: `medseg run RECIPE --set network.init_from=THIS_FOLDER` starts a unet from its encoder"
    return f"""# {description.name}

{aim} {_input_words(description)}.

- network: {description.network}{keywords}, {parameters:,} parameters, {members} member{plural}
{use}

## Trained
{trained}

## Domain
What the training {inputs} were like{_UNLIKE[description.unit]}.

{trained_on}
{_series(description)}
Not a medical device: every label map needs a qualified reader's review.
"""


_UNLIKE = {
    "mm": "; scans unlike them are excluded, or segmented for review with\n"
    "`--accept-domain`. Voxel sizes are along right, anterior, superior",
    "px": "",
}


def _series(description: Description) -> str:
    """The section on the series of DICOM exports that are chosen; nothing for images."""
    if description.unit == "px":
        return ""
    rules = (f"- {name}: {rule.words()}" for name, rule in description.series_rules().items())
    return "\n## Series of DICOM exports that are chosen\n" + "\n".join(rules) + "\n"


def _codes(description: Description) -> str:
    """The line of the codes that DICOM results have; images have none."""
    if description.unit == "px":
        return ""
    classes = description.class_list()
    rows = [classes.classes[index] for index in classes.foreground]
    return "\n- codes in DICOM: " + "; ".join(f"{row.name} is {codes_of(row)}" for row in rows)


def _input_words(description: Description) -> str:
    channels = " + ".join(description.channels)
    if description.unit == "px":
        return f"images ({channels})"
    planes = ", ".join(description.planes)
    return f"{channels} scans, slice by slice ({planes},\n{description.depth} slices a slab)"


def _prediction(description: Description) -> str:
    views = ""
    if description.several_views:
        flipped = ", also mirrored left to right" if description.flip else ""
        scales = ", ".join(f"{scale:g}" for scale in description.scales)
        views = f" at scales {scales}{flipped}, fused by {description.scale_fusion}"
    joined = f", planes joined by {description.ensemble}" if len(description.planes) > 1 else ""
    least = ", ".join(f"{name} above {share:g}" for name, share in description.mask_thresholds().items())
    masks = f"; masks that may overlap, by probability: {least}" if least else ""
    return f"{description.mode}{views}{' and a dense CRF' if description.crf else ''}{joined}{masks}"
