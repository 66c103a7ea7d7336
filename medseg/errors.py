"""The errors of medseg, as one exception and one table of codes.

Every refusal is a :class:`MedsegError`; every remark about a usable file is a :class:`Finding` with a code
of :data:`NOTES`. Both say the same four things: the code, where it is, the details, and how to fix it.

    MedsegError(Code.TRUNCATED, "scans/a.nii.gz", "gzip stream ends early", "copy the file again")
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from medseg.limits import MAX_DETAILS


class ExitCode(IntEnum):
    """Exit codes of every ``medseg`` command."""

    DONE = 0
    FAULT = 1
    USAGE = 2
    SOME_EXCLUDED = 3
    NOTHING_USABLE = 4
    INTERRUPTED = 130
    TERMINATED = 143


class Code(StrEnum):
    """Machine-readable reasons; :data:`MEANING` says each in words."""

    # A case is excluded
    NOT_AN_IMAGE = "NOT_AN_IMAGE"
    FORMAT_NOT_READ = "FORMAT_NOT_READ"
    NOT_SCALAR = "NOT_SCALAR"
    TRUNCATED = "TRUNCATED"
    FOUR_D = "FOUR_D"
    NAN_OR_INF = "NAN_OR_INF"
    CONSTANT = "CONSTANT"
    OUTSIDE_WINDOW = "OUTSIDE_WINDOW"
    SFORM_QFORM_DISAGREE = "SFORM_QFORM_DISAGREE"
    SHEARED = "SHEARED"
    AFFINE_INVALID = "AFFINE_INVALID"
    GRID_MISMATCH = "GRID_MISMATCH"
    LABEL_VALUE_UNKNOWN = "LABEL_VALUE_UNKNOWN"
    LABEL_NOT_INTEGER = "LABEL_NOT_INTEGER"
    LABEL_WITHOUT_IMAGE = "LABEL_WITHOUT_IMAGE"
    CHANNEL_MISSING = "CHANNEL_MISSING"
    MASK_MISSING = "MASK_MISSING"
    FILE_MISSING = "FILE_MISSING"
    FILE_UNREADABLE = "FILE_UNREADABLE"
    DUPLICATE_CASE = "DUPLICATE_CASE"
    NAME_INVALID = "NAME_INVALID"
    REFERENCE_MISSING = "REFERENCE_MISSING"
    UNIT_MISMATCH = "UNIT_MISMATCH"
    TOO_SMALL = "TOO_SMALL"
    TOO_LARGE = "TOO_LARGE"
    NOT_A_SCAN = "NOT_A_SCAN"
    SERIES_NOT_CHOSEN = "SERIES_NOT_CHOSEN"
    SERIES_AMBIGUOUS = "SERIES_AMBIGUOUS"
    BRAIN_NOT_FOUND = "BRAIN_NOT_FOUND"
    TIME_LIMIT = "TIME_LIMIT"
    WORKER_KILLED = "WORKER_KILLED"
    DICOM_EMPTY = "DICOM_EMPTY"
    DICOM_DAMAGED = "DICOM_DAMAGED"
    SYNTAX_UNSUPPORTED = "SYNTAX_UNSUPPORTED"
    NO_POSITION = "NO_POSITION"
    ORIENTATIONS_MIXED = "ORIENTATIONS_MIXED"
    ONE_SLICE = "ONE_SLICE"
    SLICES_MISSING = "SLICES_MISSING"
    SLICES_DUPLICATE = "SLICES_DUPLICATE"
    SLICES_UNEVEN = "SLICES_UNEVEN"
    SLICES_DIFFER = "SLICES_DIFFER"
    SLICES_TURNED = "SLICES_TURNED"
    INSTANCES_DIFFER = "INSTANCES_DIFFER"
    GANTRY_TILT = "GANTRY_TILT"
    VOLUME_INCOMPLETE = "VOLUME_INCOMPLETE"
    MOSAIC = "MOSAIC"
    SEG_IMPOSSIBLE = "SEG_IMPOSSIBLE"
    SEG_FAILED = "SEG_FAILED"
    SEG_FRACTIONAL = "SEG_FRACTIONAL"
    SEGMENTS_OVERLAP = "SEGMENTS_OVERLAP"
    INPUT_CHANGED = "INPUT_CHANGED"
    VALUES_TOO_LARGE = "VALUES_TOO_LARGE"
    VALUE_RANGE_UNKNOWN = "VALUE_RANGE_UNKNOWN"
    MASK_BELOW_THRESHOLD = "MASK_BELOW_THRESHOLD"
    PALETTE_DIFFERS = "PALETTE_DIFFERS"
    UNITS_UNKNOWN = "UNITS_UNKNOWN"
    DATA_FILE_OUTSIDE = "DATA_FILE_OUTSIDE"
    # A case is used, with a note
    DUPLICATE_INSTANCE = "DUPLICATE_INSTANCE"
    BURNED_IN = "BURNED_IN"
    DICOMDIR_INCOMPLETE = "DICOMDIR_INCOMPLETE"
    PADDED = "PADDED"
    SINGLETON_AXIS = "SINGLETON_AXIS"
    ZERO_PIXEL_SIZE = "ZERO_PIXEL_SIZE"
    SCALED = "SCALED"
    BIG_ENDIAN = "BIG_ENDIAN"
    OBLIQUE = "OBLIQUE"
    FLIPPED = "FLIPPED"
    ONE_FORM = "ONE_FORM"
    NO_ORIENTATION = "NO_ORIENTATION"
    FORMS_DIFFER_SLIGHTLY = "FORMS_DIFFER_SLIGHTLY"
    NEGATIVE_PIXEL_SIZE = "NEGATIVE_PIXEL_SIZE"
    UNITS_CONVERTED = "UNITS_CONVERTED"
    REORIENTED = "REORIENTED"
    LABEL_ROUNDED = "LABEL_ROUNDED"
    LABEL_EMPTY = "LABEL_EMPTY"
    TURNED_UPRIGHT = "TURNED_UPRIGHT"
    OUT_OF_DOMAIN = "OUT_OF_DOMAIN"
    BRAIN_EXTRACTED = "BRAIN_EXTRACTED"
    EMPTY_PREDICTION = "EMPTY_PREDICTION"
    IMPLAUSIBLE = "IMPLAUSIBLE"
    LOW_QUALITY = "LOW_QUALITY"
    VOID_PREDICTED = "VOID_PREDICTED"
    # The command or its recipe must be changed
    USAGE = "USAGE"
    RECIPE_INVALID = "RECIPE_INVALID"
    PATH_MISSING = "PATH_MISSING"
    STAGE_MISSING = "STAGE_MISSING"
    SETTINGS_CHANGED = "SETTINGS_CHANGED"
    WORK_IN_USE = "WORK_IN_USE"
    SUBJECT_ON_BOTH_SIDES = "SUBJECT_ON_BOTH_SIDES"
    SPLIT_INVALID = "SPLIT_INVALID"
    NETWORK_UNKNOWN = "NETWORK_UNKNOWN"
    KEYWORD_INVALID = "KEYWORD_INVALID"
    SIZE_IMPOSSIBLE = "SIZE_IMPOSSIBLE"
    WEIGHTS_DO_NOT_FIT = "WEIGHTS_DO_NOT_FIT"
    SHA256_DIFFERS = "SHA256_DIFFERS"
    DOWNLOAD_FAILED = "DOWNLOAD_FAILED"
    NOT_EXPORTABLE = "NOT_EXPORTABLE"
    NOT_A_MODEL = "NOT_A_MODEL"
    SEGMENTS_NOTHING = "SEGMENTS_NOTHING"
    MODEL_TAMPERED = "MODEL_TAMPERED"
    CHECKPOINT_UNREADABLE = "CHECKPOINT_UNREADABLE"
    CLUSTER_UNREACHABLE = "CLUSTER_UNREACHABLE"
    EXTRA_MISSING = "EXTRA_MISSING"
    TRACKING_UNREACHABLE = "TRACKING_UNREACHABLE"
    SERVER_UNREACHABLE = "SERVER_UNREACHABLE"
    SERVER_REFUSED = "SERVER_REFUSED"
    ANSWER_INVALID = "ANSWER_INVALID"
    NOT_STORED = "NOT_STORED"
    RESULT_CHANGED = "RESULT_CHANGED"
    NOTHING_USABLE = "NOTHING_USABLE"
    # The machine or medseg itself
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    DISK_FULL = "DISK_FULL"
    NOT_WRITTEN = "NOT_WRITTEN"
    DOES_NOT_ADD_UP = "DOES_NOT_ADD_UP"
    LOSS_NOT_FINITE = "LOSS_NOT_FINITE"


MEANING: dict[Code, str] = {
    Code.NOT_AN_IMAGE: "no reader recognises the file",
    Code.FORMAT_NOT_READ: "an image in a format that is known but not read",
    Code.NOT_SCALAR: "voxels hold several values each (RGB, vectors) instead of one",
    Code.TRUNCATED: "the file ends early or its compression is damaged",
    Code.FOUR_D: "the image has a real fourth axis (time, directions), or several pages",
    Code.NAN_OR_INF: "some voxels are not finite numbers",
    Code.CONSTANT: "every voxel has the same value",
    Code.OUTSIDE_WINDOW: "no grey value lies inside the window that `preprocess.intensity` cuts off at",
    Code.SFORM_QFORM_DISAGREE: "sform and qform place the volume's corners more than 0.1 mm apart",
    Code.SHEARED: "the axes are more than 1° off square",
    Code.AFFINE_INVALID: "a voxel size is zero or the affine is not a number: the voxels have no place",
    Code.GRID_MISMATCH: "label or channel lies on another grid than the image",
    Code.LABEL_VALUE_UNKNOWN: "the label map holds a value outside the class list",
    Code.LABEL_NOT_INTEGER: "the label map holds values further than 1e-3 from an integer",
    Code.LABEL_WITHOUT_IMAGE: "a label map has no image",
    Code.CHANNEL_MISSING: "a channel that the recipe names is absent for this case",
    Code.MASK_MISSING: "a mask that the recipe names is absent for this case, though others are there",
    Code.FILE_MISSING: "a file that a list names does not exist",
    Code.FILE_UNREADABLE: "the file cannot be opened (permissions, broken link)",
    Code.DUPLICATE_CASE: "two files claim the same case and channel",
    Code.NAME_INVALID: "a name from the input cannot be part of a path",
    Code.REFERENCE_MISSING: "a predicted label map has no reference to be scored against",
    Code.UNIT_MISMATCH: "an image in px where a scan in mm is expected, or the reverse",
    Code.TOO_SMALL: "an axis is shorter than two voxels",
    Code.TOO_LARGE: "the file has more voxels, pixels, frames or entries than the limit, or expands too far",
    Code.SERIES_NOT_CHOSEN: "a DICOM series that the model's rules do not choose",
    Code.SERIES_AMBIGUOUS: "several DICOM series of a study fit one channel of the model",
    Code.TIME_LIMIT: "a step of the case took longer than the limit",
    Code.WORKER_KILLED: "the process that worked on the case was killed, or died of the case",
    Code.BRAIN_NOT_FOUND: "no brain was found to be cut out, or the mask that was given is empty",
    Code.NOT_A_SCAN: "a DICOM object that is no scan (segmentation, report, radiotherapy)",
    Code.DICOM_EMPTY: "a DICOM file without a data set",
    Code.DICOM_DAMAGED: "a DICOM file whose header or pixels cannot be read",
    Code.SYNTAX_UNSUPPORTED: "the pixels are compressed in a way that cannot be decoded here",
    Code.NO_POSITION: "an image without a position, orientation or pixel spacing in space",
    Code.ORIENTATIONS_MIXED: "single slices of several orientations: a localizer",
    Code.ONE_SLICE: "a single slice is no volume",
    Code.SLICES_MISSING: "slices of an even stack are missing",
    Code.SLICES_DUPLICATE: "several slices lie at one position and nothing tells them apart",
    Code.SLICES_DIFFER: "slices of one stack differ in matrix or pixel spacing",
    Code.SLICES_TURNED: "slices of one stack are turned against each other",
    Code.INSTANCES_DIFFER: "two files claim one DICOM instance and hold different pixels or places",
    Code.SLICES_UNEVEN: "the gaps between slices differ",
    Code.GANTRY_TILT: "slices are shifted against each other along the stack",
    Code.VOLUME_INCOMPLETE: "a volume lacks slices that others of its series have",
    Code.SEG_IMPOSSIBLE: "a label map cannot be written as a DICOM segmentation of its series",
    Code.SEG_FAILED: "a DICOM result could not be written, or read back as it was; the label map is kept",
    Code.SEG_FRACTIONAL: "a DICOM segmentation holds fractions instead of segments, which are no label map",
    Code.SEGMENTS_OVERLAP: "segments of DICOM, or files of classes, overlap where classes exclude each other",
    Code.INPUT_CHANGED: "a DICOM series or segmentation is not the one that ingest read",
    Code.MOSAIC: "a mosaic of slices that cannot be placed in space",
    Code.DUPLICATE_INSTANCE: "a DICOM instance lies there twice; it was used once",
    Code.DICOMDIR_INCOMPLETE: "files that a DICOMDIR names are not there",
    Code.BURNED_IN: "text may be burned into the pixels",
    Code.PADDED: "pixels outside the image hold a padding value",
    Code.VALUES_TOO_LARGE: "grey values are too large to be computed with, or too far from zero",
    Code.VALUE_RANGE_UNKNOWN: "ImageNet's scaling needs the value of white, which the file does not tell",
    Code.MASK_BELOW_THRESHOLD: "the mask holds values above zero, but none above data.label_form's threshold",
    Code.PALETTE_DIFFERS: "the mask's palette has the set's colours at other indices",
    Code.UNITS_UNKNOWN: "the unit of the header's lengths is not known",
    Code.DATA_FILE_OUTSIDE: "the header names a file of voxels outside its own folder",
    Code.SINGLETON_AXIS: "trailing axes of length one were dropped",
    Code.ZERO_PIXEL_SIZE: "a pixel size of zero stands in the header of an axis that is not used",
    Code.SCALED: "slope and intercept of the header were applied",
    Code.BIG_ENDIAN: "the file is big-endian",
    Code.OBLIQUE: "the axes are rotated against the scanner's",
    Code.FLIPPED: "the axes are flipped or permuted against RAS+",
    Code.ONE_FORM: "only one of sform and qform is coded; it was used",
    Code.NO_ORIENTATION: "no orientation is stored; the array is used as it lies",
    Code.FORMS_DIFFER_SLIGHTLY: "sform and qform differ, by at most 0.1 mm at the corners; sform was used",
    Code.NEGATIVE_PIXEL_SIZE: "a pixel size in the header is negative; its absolute value was used",
    Code.UNITS_CONVERTED: "the header's lengths are not in mm; they were converted",
    Code.REORIENTED: "the file's axes are stored in another order than the image's; it was reoriented",
    Code.LABEL_ROUNDED: "label values within 1e-3 of integers were rounded",
    Code.LABEL_EMPTY: "the label map holds no voxel of any class but the background",
    Code.TURNED_UPRIGHT: "the image was rotated as its EXIF orientation says",
    Code.OUT_OF_DOMAIN: "the scan is unlike those the model was trained on: excluded, or accepted for review",
    Code.BRAIN_EXTRACTED: "the brain was cut out of a whole head before it was segmented; it needs review",
    Code.EMPTY_PREDICTION: "the model found no foreground; the result needs review",
    Code.IMPLAUSIBLE: "a structure's size, extent or shape is far from the training's; it needs review",
    Code.LOW_QUALITY: "the predicted Dice is below the threshold set on validation cases; it needs review",
    Code.VOID_PREDICTED: "a prediction holds void (ignored label) where the reference has a class",
    Code.USAGE: "the command line does not make sense",
    Code.RECIPE_INVALID: "the recipe has unknown keys, wrong types or clashing values",
    Code.PATH_MISSING: "a file or folder that was named does not exist",
    Code.STAGE_MISSING: "an earlier stage has not been run in this work folder",
    Code.SETTINGS_CHANGED: "a training with other settings or data is in this work folder; it is kept",
    Code.WORK_IN_USE: "another medseg command is running on this work folder",
    Code.SUBJECT_ON_BOTH_SIDES: "a subject is in two roles of one fold",
    Code.SPLIT_INVALID: "the splits name cases that do not exist, or leave a role empty",
    Code.NETWORK_UNKNOWN: "the network's name is not in the table of networks",
    Code.KEYWORD_INVALID: "a network or function does not take this keyword or value",
    Code.SIZE_IMPOSSIBLE: "the network cannot take an input of this size",
    Code.WEIGHTS_DO_NOT_FIT: "the weights do not fit the network",
    Code.SHA256_DIFFERS: "a weight file's sha256 is not the one the recipe states; nothing of it was read",
    Code.DOWNLOAD_FAILED: "a weight file that the recipe names by URL could not be downloaded",
    Code.NOT_EXPORTABLE: "the network cannot be written as an ONNX graph that gives its logits",
    Code.NOT_A_MODEL: "the folder is not a medseg model folder",
    Code.SEGMENTS_NOTHING: "an auto-encoder reconstructs scans to start another training, and segments none",
    Code.MODEL_TAMPERED: "a model file's sha256 is not the one model.json records",
    Code.CHECKPOINT_UNREADABLE: "a checkpoint cannot be read or belongs to another training",
    Code.CLUSTER_UNREACHABLE: "no Dask scheduler answers at the address",
    Code.EXTRA_MISSING: "the command needs packages of an extra that is not installed",
    Code.TRACKING_UNREACHABLE: "the tracking server does not answer",
    Code.SERVER_UNREACHABLE: "a DICOM or DICOMweb server does not answer",
    Code.SERVER_REFUSED: "a DICOM or DICOMweb server refuses the request",
    Code.ANSWER_INVALID: "a DICOMweb server's answer breaks off, or is not what was asked for",
    Code.NOT_STORED: "a server did not store a DICOM file",
    Code.RESULT_CHANGED: "a DICOM file is not the one that `segment` wrote; it was not sent",
    Code.NOTHING_USABLE: "no input could be used",
    Code.OUT_OF_MEMORY: "the machine or device ran out of memory",
    Code.DISK_FULL: "no space is left on the disk",
    Code.NOT_WRITTEN: "a case's result could not be written (permissions, a folder in its place)",
    Code.DOES_NOT_ADD_UP: "inputs and results do not add up: a bug in medseg",
    Code.LOSS_NOT_FINITE: "the training loss became NaN or infinite",
}

NOTES: frozenset[Code] = frozenset(
    {
        *(Code.DUPLICATE_INSTANCE, Code.BURNED_IN, Code.DICOMDIR_INCOMPLETE, Code.PADDED),
        *(Code.SINGLETON_AXIS, Code.ZERO_PIXEL_SIZE, Code.SCALED, Code.BIG_ENDIAN, Code.OBLIQUE),
        *(Code.FLIPPED, Code.ONE_FORM, Code.NO_ORIENTATION, Code.FORMS_DIFFER_SLIGHTLY),
        *(Code.NEGATIVE_PIXEL_SIZE, Code.UNITS_CONVERTED, Code.REORIENTED, Code.LABEL_ROUNDED),
        *(Code.LABEL_EMPTY, Code.TURNED_UPRIGHT, Code.OUT_OF_DOMAIN, Code.BRAIN_EXTRACTED),
        *(Code.EMPTY_PREDICTION, Code.IMPLAUSIBLE, Code.LOW_QUALITY, Code.VOID_PREDICTED),
    }
)
"""Codes of remarks about cases that are used all the same."""

_EXIT = {
    Code.NOTHING_USABLE: ExitCode.NOTHING_USABLE,
    Code.OUT_OF_MEMORY: ExitCode.FAULT,
    Code.DISK_FULL: ExitCode.FAULT,
    Code.DOES_NOT_ADD_UP: ExitCode.FAULT,
    Code.LOSS_NOT_FINITE: ExitCode.FAULT,
}


@dataclass(frozen=True)
class Finding:
    """One remark about a file: why its case is excluded, or a note if ``code`` is one of :data:`NOTES`."""

    code: Code
    where: str
    details: str
    how_to_fix: str

    def __post_init__(self) -> None:
        # What an input says of itself is quoted here: no control characters reach a terminal, table or page.
        for field in ("details", "how_to_fix"):
            object.__setattr__(self, field, printable(getattr(self, field)[:MAX_DETAILS])[:MAX_DETAILS])

    @property
    def is_note(self) -> bool:
        """True if the case is used all the same."""
        return self.code in NOTES

    def __str__(self) -> str:
        return f"{self.code} {printable(self.where)}: {self.details}; {self.how_to_fix}"


class MedsegError(Exception):
    """A refusal: `finding` has its `code`, `where`, `details` and `how_to_fix`.

    Commands print it as one line, never as a traceback.
    """

    def __init__(self, code: Code, where: object, details: str, how_to_fix: str) -> None:
        self.finding = Finding(code, str(where), details, how_to_fix)
        super().__init__(str(self.finding))

    @property
    def code(self) -> Code:
        """The reason, machine-readable."""
        return self.finding.code

    @property
    def exit_code(self) -> ExitCode:
        """The command's exit code if this error ends it."""
        return _EXIT.get(self.code, ExitCode.USAGE)

    def __reduce__(self) -> tuple[type[MedsegError], tuple[Code, str, str, str]]:
        f = self.finding
        return MedsegError, (f.code, f.where, f.details, f.how_to_fix)


class WorkerFaultError(Exception):
    """A fault in a worker process: its type, its traceback, and the traceback without the error's words."""

    def __init__(self, kind: str, text: str, frames: str) -> None:
        super().__init__(f"{text.strip().splitlines()[-1]}\n{text}")
        self.kind, self.frames = kind, frames


class HiddenError(Exception):
    """An error of a library, by its type alone: its words may quote a patient's name."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"{kind} (its words are left out: they may quote the input)")


def refusal(findings: Iterable[Finding]) -> MedsegError:
    """The first of a case's findings that excludes it, as an error; there must be one."""
    reason = next(finding for finding in findings if not finding.is_note)
    return MedsegError(reason.code, reason.where, reason.details, reason.how_to_fix)


def first_line(error: Exception) -> str:
    """Shorten an error to its first line of text, or its name where it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def some(items: Sequence[object], most: int = 5) -> str:
    """Write the first items on one line, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(printable(str(item)) for item in items[:most]) + more


_MOST_CHOICES = 40
_ALIKE = 0.65
"""Similarity (0 to 1) from which one word may be meant by another."""


def choice(word: str, known: Iterable[str], otherwise: str = "use one of") -> str:
    """Say how to fix an unknown word: by those of ``known`` that are spelt alike, else by all of them."""
    known = list(known)
    alike = {name: difflib.SequenceMatcher(None, word.lower(), name.lower()).ratio() for name in known}
    best = max(alike.values(), default=0.0)
    if best >= _ALIKE:
        near = [name for name in sorted(known, key=lambda name: -alike[name]) if alike[name] > best - 0.08]
        return f"did you mean {' or '.join(near[:3])}?"
    return f"{otherwise} {some(known, _MOST_CHOICES)}"


def printable(name: str) -> str:
    """Write a name on one line, whatever characters it holds: those that do not print as escapes."""
    return name if name.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
