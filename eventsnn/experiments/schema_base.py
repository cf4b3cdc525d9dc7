"""What all parts of the configuration schema share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def described(text: str, **bounds: Any) -> Any:
    """A field without default, with a description."""
    return Field(description=text, **bounds)


def default(value: Any, text: str, **bounds: Any) -> Any:
    """A field with a default and a description."""
    return Field(default=value, description=text, **bounds)


class Strict(BaseModel):
    """Base of all models: nothing unknown, nothing converted, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, validate_default=True)
