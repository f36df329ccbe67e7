"""Which texts of a model say nothing about a region."""

import re

# Words for silence, matched against the lower-case parts of a text without its punctuation. What is
# said of the report ("not mentioned") is silence, what is said of the picture ("none seen",
# "no findings", "unremarkable") is not.
_TOLD = (
    "mentioned|described|reported|stated|documented|addressed|discussed|commented(?: on| upon)?"
    "|specified|provided|given|included|available|recorded|listed|covered|referenced"
)
_PARTS = (
    "the|this|these|any|other|additional|further|such|specific|explicit|relevant|particular|separate"
    "|regions?|areas?|parts?|structures?|bones?|bony|osseous|skeletal|hearts?|cardiac|lungs?|pulmonary"
    "|pleural?|mediastinum|mediastinal|hila|hilar|others?|and|or"
)
_NOUNS = (
    "findings?|information|info|data|details?|observations?|statements?|text|content|annotations?"
    "|specifics"
)
_SAYINGS = (
    "mention|information|info|data|details?|comments?|descriptions?|statements?|references?"
    "|documentation|discussion|remarks?|text"
)
_HOW = "(?:(?:explicitly|specifically|directly|separately|clearly|otherwise) )?"
_WHERE = (
    "(?: (?:in|within|for|about|on|of|by|to|regarding|concerning|here|at all"
    "|explicitly|specifically|separately)(?: .{0,60})?)?"
)
_THERE = "(?:there (?:is|are|was|were) )?"
_BE = "(?:(?:is|are|was|were|has been|have been|being) )?"
_SILENCE_WORDS = re.compile(
    "na|none|null|nil|nan|nat|undefined|unspecified|unknown|empty|blank|void|nothing|silent"
    "|(?:empty|blank) (?:string|text)"
    f"|(?:(?:{_PARTS}|{_NOUNS}) )*{_BE}(?:not|never) (?:been )?{_HOW}"
    f"(?:{_TOLD}|applicable|noted|evaluated|assessed){_WHERE}"
    f"|{_THERE}(?:nothing|none|no (?:(?:{_PARTS}) )*(?:{_NOUNS})) {_BE}{_HOW}(?:{_TOLD}|said){_WHERE}"
    f"|{_THERE}no (?:(?:{_PARTS}) )*(?:{_SAYINGS})(?: {_BE}(?:{_TOLD}))?{_WHERE}"
    "|(?:the )?report (?:does not|doesn't|did not|didn't) (?:explicitly |specifically )?"
    "(?:mention|describe|address|comment|discuss|specify|state|say|report|include|provide)"
    "(?: .{0,60})?"
    f"|(?:the )?report (?:says|said|states|mentions) nothing{_WHERE}"
)


_BREAK = re.compile(r"[.,;:!?()/|\[\]<>{}]|(?:^|\s)[-–—]+(?:\s|$)")


def says_nothing(text: str) -> bool:
    """Whether a text is empty, a mark for an empty cell ("nan", "N/A", "-") or words for silence
    ("None", "Not mentioned.")."""
    plain = re.sub(r"\bn\s*[./]\s*a\b", "na", " ".join(text.lower().replace("’", "'").split()))
    parts = [re.sub(r"^\W+|\W+$", "", part) for part in _BREAK.split(plain)]
    return all(_SILENCE_WORDS.fullmatch(part) for part in parts if part)
