"""What every section of a study file has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Keys that are known, values that do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
