"""Bodies that refuse what they do not know: a slip of the finger must not be taken for a wish that nobody had."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import AliasChoices, BaseModel, ConfigDict, model_validator

from hub.core.admission import nearest_name


class StrictBody(BaseModel):
    """A body whose unknown keys are refused, with the nearest name; those that official clients send and that mean nothing here are not."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})
    tolerated: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, body: object) -> object:
        if isinstance(body, dict):
            known = cls.keys()
            unknown = [key for key in body if key not in known and key not in cls.tolerated]
            if unknown:
                raise ValueError(cls.told(str(unknown[0]), known))
        return body

    @classmethod
    def keys(cls) -> set[str]:
        """Return the names under which the fields are sent."""
        found: set[str] = set()
        for name, info in cls.model_fields.items():
            alias: Any = info.validation_alias or name
            found |= {str(choice) for choice in alias.choices} if isinstance(alias, AliasChoices) else {str(alias)}
        return found

    @classmethod
    def told(cls, key: str, known: set[str]) -> str:
        """Say what is wrong with a key."""
        return f'"{key[:60]}" is no key of this body{nearest_name(key, known)}'
