"""Which texts of a model say nothing about a region.

`core.tables.has_no_value` is narrower on purpose: in a cell of a user's table only marks for an
empty cell count, since a report that reads "nothing to add" is a report.
"""

import re

# Patterns for silence, matched against the parts of a text in lower case without punctuation. A
# statement about the report ("not mentioned") is silence, one about the picture ("none seen", "no
# findings", "unremarkable") is not.
_STATED = (
    "mentioned|described|reported|stated|documented|addressed|discussed|commented(?: on| upon)?"
    "|specified|provided|given|included|available|recorded|listed|covered|referenced"
)
_PARTS = (
    "the|this|these|any|other|additional|further|such|specific|explicit|relevant|particular"
    "|separate|regions?|areas?|parts?|structures?|bones?|bony|osseous|skeletal|hearts?|cardiac"
    "|lungs?|pulmonary|pleural?|mediastinum|mediastinal|hila|hilar|others?|and|or"
)
_NOUNS = (
    "findings?|information|info|data|details?|observations?|statements?|text|content|annotations?"
    "|specifics"
)
_STATEMENTS = (
    "mention|information|info|data|details?|comments?|descriptions?|statements?|references?"
    "|documentation|discussion|remarks?|text"
)
_ADVERB = "(?:(?:explicitly|specifically|directly|separately|clearly|otherwise) )?"
_WHERE = (
    "(?: (?:in|within|for|about|on|of|by|to|regarding|concerning|here|at all"
    "|explicitly|specifically|separately)(?: .{0,60})?)?"
)
_THERE = "(?:there (?:is|are|was|were) )?"
_BE = "(?:(?:is|are|was|were|has been|have been|being) )?"
_SILENCE_WORDS = re.compile(
    "na|none|null|nil|nan|nat|undefined|unspecified|unknown|empty|blank|void|nothing|silent"
    "|(?:empty|blank) (?:string|text)"
    f"|(?:(?:{_PARTS}|{_NOUNS}) )*{_BE}(?:not|never) (?:been )?{_ADVERB}"
    f"(?:{_STATED}|applicable|noted|evaluated|assessed){_WHERE}"
    f"|{_THERE}(?:nothing|none|no (?:(?:{_PARTS}) )*(?:{_NOUNS})) {_BE}{_ADVERB}"
    f"(?:{_STATED}|said){_WHERE}"
    f"|{_THERE}no (?:(?:{_PARTS}) )*(?:{_STATEMENTS})(?: {_BE}(?:{_STATED}))?{_WHERE}"
    "|(?:the )?report (?:does not|doesn't|did not|didn't) (?:explicitly |specifically )?"
    "(?:mention|describe|address|comment|discuss|specify|state|say|report|include|provide)"
    "(?: .{0,60})?"
    f"|(?:the )?report (?:says|said|states|mentions) nothing{_WHERE}"
)


_BREAK = re.compile(r"[.,;:!?()/|\[\]<>{}]|(?:^|\s)[-–—]+(?:\s|$)")


def says_nothing(text: str) -> bool:
    """Whether a text is empty, a mark for an empty cell ("nan", "N/A", "-"), or words for silence
    ("None", "Not mentioned.")."""
    plain = re.sub(r"\bn\s*[./]\s*a\b", "na", " ".join(text.lower().replace("’", "'").split()))
    parts = [re.sub(r"^\W+|\W+$", "", part) for part in _BREAK.split(plain)]
    return all(_SILENCE_WORDS.fullmatch(part) for part in parts if part)
