"""What all tables of a recipe share."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Every table of a recipe: unknown keys are refused, values are not coerced, nothing changes once read.

    A table that is left out is constructed, not validated: that would build a validator for each, at each start.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
