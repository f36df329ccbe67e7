"""Which form of request a server takes: found out once, with the first questions."""

import re
import sys
from typing import NamedTuple


def forms(name: str, schema: dict) -> dict[str, dict | None]:
    """The response formats by name, the strictest first: OpenAI's JSON schema, llama.cpp's, the
    older one that leaves the keys to the prompt, none.
    """
    strict = {"name": name, "strict": True, "schema": schema}
    return {
        "json_schema": {"type": "json_schema", "json_schema": strict},
        "json_object with a schema": {"type": "json_object", "schema": schema},
        "json_object": {"type": "json_object"},
        "plain text": None,
    }


class RequestFormat(NamedTuple):
    """`form`: an index into the response formats. `limit`: the parameter that bounds the answer;
    newer models of OpenAI take `max_completion_tokens`, and no temperature.
    """

    form: int = 0
    limit: str = "max_tokens"
    temperature: bool = True

    def fields(self, max_tokens: int, forms: dict[str, dict | None]) -> dict:
        fields: dict = {self.limit: max_tokens}
        if self.temperature:
            fields["temperature"] = 0
        if form := list(forms.values())[self.form]:
            fields["response_format"] = form
        return fields


class Dialect:
    """What a server takes. `request_format` is for the next request; the strictest one that was
    accepted is kept. `name`: of model and server, for messages. `forms`: as `forms` gives them.
    """

    def __init__(self, name: str, forms: dict[str, dict | None]) -> None:
        self.name = name
        self.forms = forms
        self.request_format = RequestFormat()
        self._proven: RequestFormat | None = None
        self._doubts: set[tuple[str, RequestFormat]] = set()

    def accepted(self, request_format: RequestFormat) -> None:
        """A request in this format was answered."""
        if self._proven is None or request_format.form < self._proven.form:
            self._proven = request_format
            self.request_format = request_format
            form = list(self.forms)[request_format.form]
            print(f"{self.name}: answers are bound to: {form}", file=sys.stderr)

    def refused(self, request_format: RequestFormat, error, question: str = "") -> bool:
        """Return True if the request should be retried with the format that is now current.

        `error`: an error status (`status_code`, `code`, `param`, `message`). `question`: its key;
        the requests of a batch, whose errors arrive together, count as one.
        """
        is_client_error = error.status_code in (400, 422)
        # llama.cpp answers 500; 502, 503 and 504 do not come from the model's server.
        may_be_format = is_client_error or error.status_code == 500
        if self._proven or not may_be_format or _is_about_content(error):
            changed = self._proven is not None and self._proven != request_format
            return changed and is_client_error
        if request_format != self.request_format:
            return True
        parameter = error.param or refused_parameter(_message(error))
        return self._downgrade(parameter, is_client_error, question)

    def _downgrade(self, parameter: str | None, is_client_error: bool, question: str) -> bool:
        """Changes the current format after a refusal of it. Returns False if it should not be
        retried."""
        refused = self.request_format
        if parameter in ("max_tokens", "max_completion_tokens") and refused.limit == "max_tokens":
            self.request_format = refused._replace(limit="max_completion_tokens")
        elif parameter == "temperature" and refused.temperature:
            self.request_format = refused._replace(temperature=False)
        elif not is_client_error and (question, refused) not in self._doubts:
            # The server may only have been busy: the same is sent again, after the wait for a 500.
            self._doubts.add((question, refused))
            return False
        elif refused.form + 1 < len(self.forms):
            self.request_format = refused._replace(form=refused.form + 1)
        else:
            # No form helps: it is this question that is refused.
            self.request_format = refused._replace(form=0)
            return False
        return True


def refused_parameter(message: str) -> str | None:
    """The first parameter of RequestFormat that the text of a refusal names; gateways often leave
    the field `param` empty."""
    names = r"\b(max_tokens|max_completion_tokens|temperature|response_format)\b"
    named = re.search(names, message)
    return named[0] if named else None


_ABOUT_CONTENT = re.compile(
    r"context (length|window)|too (large|long)|content.?(filter|management|policy)"
    r"|ResponsibleAI|safety (system|filter|policy)",
    re.IGNORECASE,
)


def _is_about_content(error) -> bool:
    """Whether the question is too long or stopped by a filter, whatever the request's format."""
    if "context" in str(error.code) or "content" in str(error.code):
        return True
    return bool(_ABOUT_CONTENT.search(_message(error)))


def _message(error) -> str:
    """The server's message; without one the beginning of the body, which may repeat the question
    further on."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or error.message[:300])
