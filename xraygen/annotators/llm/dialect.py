"""The form of answer that an approach asks a server for: a text for each region."""

from xraygen.core.regions import Regions
from xraygen.engines import dialect
from xraygen.engines.dialect import RequestFormat

__all__ = ["Dialect", "RequestFormat", "forms_of"]


def forms_of(regions: Regions) -> dict[str, dict | None]:
    """The response formats by name, the strictest first."""
    schema = {
        "type": "object",
        "properties": {region: {"type": "string"} for region in regions},
        "required": list(regions),
        "additionalProperties": False,
    }
    return dialect.forms("annotation", schema)


class Dialect(dialect.Dialect):
    """What a server takes, of annotations of these regions."""

    def __init__(self, name: str, regions: Regions) -> None:
        super().__init__(name, forms_of(regions))
