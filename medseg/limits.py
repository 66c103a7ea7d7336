"""Limits on what one input may cost: every number above which it is refused, in one place.

An input may come from anyone. Its header says how much memory and time it wants, and may lie; so a size is
compared with these limits, and with the bytes that are there, before memory is taken for it. Each refusal has
the code TOO_LARGE unless another is named. ``docs/hostile-input.md`` says what they guard against.
"""

from __future__ import annotations

MAX_VOXELS = 2**30
"""Voxels of a scan: 1024³, 2 GiB as int16."""

MAX_PIXELS = 2**26
"""Pixels of an image, and of one frame of a DICOM file: 8192²."""

MAX_SURPLUS_BYTES = 2**26
"""Bytes of a scan's file before its voxels, or after them: 64 MiB."""

MAX_STORED = 8
"""How many times larger than its voxels a scan's file may be, beyond :data:`MAX_SURPLUS_BYTES`: as text they
take most."""

MAX_SCAN_BYTES = MAX_STORED * 8 * MAX_VOXELS
"""Bytes of a file with a scan, 64 GiB, beyond which nothing of it is read but its header."""

MAX_MASK_VOXELS = 2**34
"""Voxels of all masks of a DICOM SEG together."""

MAX_FRAMES = 100_000
"""Frames of one DICOM file; a long functional series has some 40,000."""

MAX_MM = 1e6
"""Lengths in mm, a kilometre, that a DICOM header may state; a longer one counts as absent (NO_POSITION)."""

MIN_MM = 1e-6
"""The shortest edge of a pixel in mm, a nanometre; a shorter one counts as absent (NO_POSITION)."""

MAX_TILES = 65_535
"""Tiles of a JPEG 2000 frame, the most that its standard allows (DICOM_DAMAGED)."""

MAX_FILE_BYTES = 2 * 2**30
"""Bytes of one file of a DICOM export once it is decompressed."""

MAX_PLAIN_BYTES = 2**33
"""Bytes of a DICOM file that is not compressed: 8 GiB, twice what one element of pixels can state."""

MAX_READS = 2**23
"""Reads of the elements of a DICOM header, two or three for each: some 20 seconds."""

MAX_EXPANSION = 200
"""How many times larger than its compressed form a file of an export may be, above :data:`FREE_BYTES`."""

FREE_BYTES = 2**26
"""Bytes up to which a file of an export may expand as it likes: 64 MiB."""

MAX_ENTRIES = 200_000
"""Files of a zip archive."""

MAX_ARCHIVE_BYTES = 2**38
"""Bytes that all files of a zip archive may have together once decompressed: 256 GiB."""

MAX_DEPTH = 64
"""Folders inside one another below an input folder; deeper ones are not entered."""

MAX_NESTING = 64
"""Lists and mappings inside one another in a JSON or YAML file (the code of a file that cannot be read)."""

MAX_NODES = 200_000
"""Values of a YAML file, those that its anchors repeat counted each time (RECIPE_INVALID)."""

MAX_YAML_BYTES = 2**21
"""Bytes of a recipe or class file (RECIPE_INVALID)."""

MAX_JSON_BYTES = 2**26
"""Bytes of a JSON file: `model.json`, `dataset.json` (the code of a file that cannot be read)."""

MAX_COUNT = 2**16
"""Adjacent slices, sides of a window (px) and slabs of a batch that a model folder may ask for."""

MAX_MEMBERS = 1000
"""Members, or exported graphs, of a model folder."""

MAX_WEIGHTS_BYTES = 2**33
"""Bytes of a member's weights: 8 GiB, a network of two billion parameters."""

MAX_GRAPH_BYTES = 2**30
"""Bytes of an exported graph of a model folder: 1 GiB, a network of 250 million parameters."""

MAX_TABLE_BYTES = 2**26
"""Bytes of a CSV file that names cases; of a text file with a case a line (FILE_UNREADABLE)."""

MAX_HEADER_BYTES = 2**16
"""Bytes of the text header of a MetaImage or NRRD file (NOT_AN_IMAGE)."""

MAX_HEADER_LINE = 1000
"""Characters of a line of such a header (NOT_AN_IMAGE): longer ones overrun buffers of the library below."""

MAX_NAME_BYTES = 200
"""Bytes of a name that becomes part of a path (NAME_INVALID)."""

MAX_DETAILS = 2000
"""Characters of what a refusal says; the rest is cut off."""
