"""Codes of classes as a recipe writes them, for DICOM results: `data.codes`."""

from __future__ import annotations

from typing import Any, Self

from pydantic import field_validator, model_validator

from medseg import coding
from medseg.coding import SNOMED_CT, CodingError
from medseg.config.base import Section, refusal
from medseg.errors import Code


class CodedName(Section):
    """A code: its value in a coding scheme, and its meaning in words."""

    value: str
    """Value of the code. Typical: a SNOMED CT identifier, such as `65216001`."""

    meaning: str
    """Meaning of the code in words. Typical: as DICOM's tables write it, `Cerebrospinal Fluid`."""

    scheme: str = SNOMED_CT
    """Coding scheme: `SCT` for SNOMED CT, another that DICOM knows, or a private one whose name begins with
    99. Typical: left out."""

    @field_validator("value", mode="before", json_schema_input_type=str | int)
    @classmethod
    def _digits_need_no_quotes(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        try:
            self.checked()
        except CodingError as error:
            raise refusal(Code.RECIPE_INVALID, error.details, error.how_to_fix) from None
        return self

    def checked(self) -> coding.CodedName:
        """Give the code itself; raises CodingError."""
        return coding.CodedName(self.value, self.meaning, self.scheme)


class ClassCodes(Section):
    """The codes of one class: `{type: {value: 5366008, meaning: Hippocampus}}`."""

    type: CodedName
    """Code of what the class is, its segmented property type. Typical: one of DICOM's context group 7151,
    7159 or 7166."""

    category: CodedName | None = None
    """Code of the category that it belongs to (context group 7150). Typical: left out for
    `91723000`, Anatomical Structure; `85756007` Tissue, `49755003` Morphologically Abnormal Structure."""

    modifier: CodedName | None = None
    """Code that narrows the type: a side or a part. Typical: left out, or `7771000` Left, `24028007`
    Right."""

    def checked(self) -> coding.ClassCodes:
        """Give the codes themselves."""
        modifier = self.modifier.checked() if self.modifier else None
        category = self.category.checked() if self.category else coding.ANATOMY
        return coding.ClassCodes(self.type.checked(), category, modifier)
