"""What form of request a server takes: found out with the first questions, once."""

import re
import sys
from typing import NamedTuple

from xraygen.core.regions import Regions


def forms_of(regions: Regions) -> dict[str, dict | None]:
    """What answers may be bound to, the strictest first: OpenAI's, llama.cpp's, the older one that
    leaves the keys to the prompt, nothing.
    """
    schema = {
        "type": "object",
        "properties": {region: {"type": "string"} for region in regions},
        "required": list(regions),
        "additionalProperties": False,
    }
    strict = {"name": "annotation", "strict": True, "schema": schema}
    return {
        "json_schema": {"type": "json_schema", "json_schema": strict},
        "json_object with a schema": {"type": "json_object", "schema": schema},
        "json_object": {"type": "json_object"},
        "plain text": None,
    }


class Manner(NamedTuple):
    """`form`: an index of the forms of answer. Newer models of OpenAI take `max_completion_tokens`, and no
    temperature.
    """

    form: int = 0
    limit: str = "max_tokens"
    temperature: bool = True

    def fields(self, tokens: int, forms: dict[str, dict | None]) -> dict:
        fields = {self.limit: tokens} | ({"temperature": 0} if self.temperature else {})
        form = list(forms.values())[self.form]
        return fields | ({"response_format": form} if form else {})


class Dialect:
    """`manner` is that of the next request; the strictest that was answered stays."""

    def __init__(self, name: str, regions: Regions):
        self.forms = forms_of(regions)
        self.name = name
        self.manner = Manner()
        self._proven: Manner | None = None
        self._doubts: set[tuple[str, Manner]] = set()

    def taken(self, manner: Manner) -> None:
        """A request in this manner was answered."""
        if self._proven is None or manner.form < self._proven.form:
            self._proven = self.manner = manner
            print(
                f"{self.name}: answers are bound to: {list(self.forms)[manner.form]}",
                file=sys.stderr,
            )

    def refused(self, manner: Manner, error, question: str = "") -> bool:
        """Whether to ask again, in what is now the manner, after a status that says no to a
        request. Those of a batch are one `question`: they come together.
        """
        bad = error.status_code in (
            400,
            422,
        )  # llama.cpp says 500; 502, 503 and 504 are no words of the model's server
        if self._proven or not (bad or error.status_code == 500) or _is_of_the_question(error):
            return self._proven is not None and self._proven != manner and bad
        if manner != self.manner:
            return True
        parameter = error.param or refused_parameter(_said(error))
        if parameter in ("max_tokens", "max_completion_tokens") and manner.limit == "max_tokens":
            self.manner = manner._replace(limit="max_completion_tokens")
        elif parameter == "temperature" and manner.temperature:
            self.manner = manner._replace(temperature=False)
        elif not bad and (question, manner) not in self._doubts:
            self._doubts.add(
                (question, manner)
            )  # it may just have been busy: it is asked again, after the wait that a 500 has
            return False
        elif manner.form + 1 < len(self.forms):
            self.manner = manner._replace(form=manner.form + 1)
        else:
            self.manner = manner._replace(form=0)  # it is this question that is refused
            return False
        return True


def refused_parameter(message: str) -> str | None:
    """The first parameter of Manner that the text of a refusal names; gateways often leave the
    field `param` empty."""
    names = r"\b(max_tokens|max_completion_tokens|temperature|response_format)\b"
    named = re.search(names, message)
    return named[0] if named else None


def _is_of_the_question(error) -> bool:
    """Whether the question is too long, or stopped by a filter, in whatever manner it is asked."""
    if "context" in str(error.code) or "content" in str(error.code):
        return True
    return bool(_OF_THE_QUESTION.search(_said(error)))


_OF_THE_QUESTION = re.compile(
    r"context (length|window)|too (large|long)|content.?(filter|management|policy)"
    r"|ResponsibleAI|safety (system|filter|policy)",
    re.IGNORECASE,
)


def _said(error) -> str:
    """The server's message; without one the beginning of the body, which may repeat the question
    further on."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or error.message[:300])
